"""Shared parts of the benchmarks: random models, token stores with MS MARCO's lengths, alternating timing, tables."""

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedModel,
)

from led_pipeline.data.examples import Trainset
from led_pipeline.data.tables import Ragged, write_arrow
from led_pipeline.data.tokens import TokenStore
from led_pipeline.recipe.step_settings import TRAINING, RetrieverTraining
from led_pipeline.training.training_data import TrainingData

CLS, SEP, PAD, UNK = 2, 3, 0, 1
VOCABULARY = 30_522
PASSAGE_TOKENS, QUERY_TOKENS = 75, 9  # MS MARCO's means, special tokens included
SPREAD = 0.42  # standard deviation of the logarithm of a length


def lengths(count: int, mean: float, longest: int, seed: int) -> NDArray[np.int64]:
    """Return lengths of texts with log-normal spread, special tokens included, cut at the longest."""
    drawn = np.random.default_rng(seed).lognormal(np.log(mean) - SPREAD**2 / 2, SPREAD, count)
    return np.clip(drawn.round().astype(np.int64), 4, longest)


def store(path: Path, count: int, mean: float, longest: int, seed: int, vocabulary: int = VOCABULARY) -> TokenStore:
    """Write and open a token store of random texts."""
    tokens = lengths(count, mean, longest, seed) - 2
    ids = np.random.default_rng(seed).integers(5, vocabulary, tokens.sum(), dtype=np.uint16)
    special = {"cls": CLS, "sep": SEP, "pad": PAD, "unk": UNK, "vocabulary": vocabulary, "between": 1}
    column = Ragged(ids, np.concatenate([[0], np.cumsum(tokens)]))
    write_arrow(path, {"text": column}, {name: str(value) for name, value in special.items()})
    return TokenStore([path])


def training_data(
    folder: Path, queries: int, passages: int, candidates: int, vocabulary: int = VOCABULARY
) -> TrainingData:
    """Return a trainset with random candidates and the scores of a teacher `lex`."""
    random = np.random.default_rng(3)
    offsets = np.arange(queries + 1) * candidates
    drawn = Ragged(random.integers(0, passages, queries * candidates, dtype=np.int32), offsets)
    positives = Ragged(drawn.values[::candidates].copy(), np.arange(queries + 1))
    scores = {"lex": Ragged(random.standard_normal(queries * candidates).astype(np.float32), offsets)}
    trainset = Trainset(np.arange(queries, dtype=np.int32), drawn, queries, drawn, positives, scores)
    stores = (
        store(folder / "queries.arrow", queries, QUERY_TOKENS, 32, seed=1, vocabulary=vocabulary),
        store(folder / "passages.arrow", passages, PASSAGE_TOKENS, 128, seed=2, vocabulary=vocabulary),
    )
    return TrainingData(*stores, trainset)


def bert(layers: int, hidden: int, vocabulary: int = VOCABULARY) -> BertModel:
    """Return a BERT of some size with random weights and BERT's dropout."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 4 * hidden}
    return BertModel(BertConfig(vocab_size=vocabulary, num_attention_heads=max(1, hidden // 64), **sizes))


def masked_language_model(layers: int, hidden: int, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Return a DistilBERT of some size with random weights."""
    torch.manual_seed(0)
    sizes = {"n_layers": layers, "dim": hidden, "hidden_dim": 4 * hidden, "n_heads": max(1, hidden // 64)}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=vocabulary, **sizes))


def settings(family: Literal["dense", "lexicon"], **changes: object) -> RetrieverTraining:
    """Return the settings of a training, with a teacher `lex` of a dense encoder."""
    teachers = [{"stage": "lex", "loss": "rank"}] if family == "dense" else []
    return TRAINING[family].model_validate({"family": family, "seed": 1, "teachers": teachers, **changes})


Seconds = list[tuple[float, float]]  # of every run: wall time and processor time


def in_turns(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[Seconds, Seconds]:
    """Run both alternately, after one uncounted run of each, and return the seconds of every run."""
    ours(), peer()
    seconds: tuple[Seconds, Seconds] = ([], [])
    for i in range(rounds):
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            start = time.perf_counter(), time.process_time()
            (ours, peer)[side]()
            seconds[side].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return seconds


def ratio(seconds: tuple[Seconds, Seconds], clock: int) -> str:
    """Return how many times faster ours is by one of the two clocks: the median over the rounds, with the range."""
    ratios = [peer[clock] / ours[clock] for ours, peer in zip(*seconds, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def machine() -> str:
    """Return one line about the machine and the versions."""
    names = [line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    processor = f"{names[0].strip() if names else platform.processor()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        processor = f"{torch.cuda.get_device_name()}, {processor}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{time.strftime('%Y-%m-%d')}; {processor}; {versions}"


def row(cells: Iterable[object]) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(cells: Sequence[str]) -> None:
    row(cells)
    row("---" for _ in cells)
