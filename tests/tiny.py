"""Tiny tokenizers, models, token stores and trainsets, the same on every machine and with every version of torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from led_pipeline.data.same_text import with_contents
from led_pipeline.data.tables import CONTENT, Ragged, Ranking, read_arrow, write_arrow, write_ranking, write_strings
from led_pipeline.data.tokens import Batch, TokenStore, tokenise
from led_pipeline.data.trainset import Candidates, draw_trainset, join
from led_pipeline.models import saved_model
from led_pipeline.models.backbone import PackedBatch, to_packed_batch
from led_pipeline.recipe.schema import Section
from led_pipeline.recipe.step_settings import (
    IMPORT,
    TRAINING,
    ImportSettings,
    MaskedLmTraining,
    TrainingSettings,
    TrainsetSettings,
    ValidationSettings,
)
from led_pipeline.training.inputs import MaskedTraining, Training
from led_pipeline.training.validation import ValidationFiles

torch.set_num_threads(1)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
FAMILIES = {"dense": BertModel, "lexicon": BertForMaskedLM, "ranker": BertForSequenceClassification}
SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
BERT = SIZES | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LENGTHS = [9, 2, 5, 12, 3]  # tokens of each text of a batch, special tokens included
MASKED_LANGUAGE_MODELS = ["bert", "bert with untied output embeddings", "distilbert", "roberta"]
TEACHER = {"weight": 1.0, "temperature": 1.0, "margin": 0.0, "min_confidence": 0.0, "with_positive": True} | {
    "stages": [],
    "weights": [],
    "normalize": False,
    "scale": 1.0,
    "candidates": "own",
    "own_offset": 0.0,
}


def save_tokenizer(folder: Path, vocabulary: list[str] = VOCABULARY) -> PreTrainedTokenizerFast:
    """Write a word-piece tokenizer that knows BERT's special tokens and all letters."""
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    cls, sep = (vocabulary.index(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.save_pretrained(folder)
    return fast


def save_bare_tokenizer(folder: Path, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Write a tokenizer of whole words like those of T5 and decoders: no [CLS], no [SEP], an end-of-sequence token."""
    vocabulary = ["<pad>", "</s>", "<unk>", *LETTERS, *words]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.save_pretrained(folder)
    return fast


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a model weights that depend on the seed and the names of its parameters alone."""
    random = np.random.default_rng(seed)
    for name, parameter in sorted(model.named_parameters()):
        around = float("norm" in name.lower() and name.endswith("weight"))
        parameter.copy_(torch.from_numpy(around + 0.2 * random.standard_normal(tuple(parameter.shape))))
    return model.eval()


def backbone(family: str, seed: int = 0, **changes: Any) -> nn.Module:
    """Return a Hugging Face BERT for a family of stages."""
    config = BertConfig(**BERT | changes, **({"num_labels": 1} if family == "ranker" else {}))
    return fill(FAMILIES[family](config), seed)


def batch(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of random texts `[CLS] ... [SEP]` of some lengths, padded to the longest."""
    random = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(5, len(VOCABULARY), mask.shape, generator=random) * mask
    ids[:, 0] = 2
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 3
    return ids, mask


def unpadded(ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> PackedBatch:
    """Return the texts of a padded batch as a PackedBatch, without padding."""
    real = mask.bool()
    token_types = None if types is None else types[real].numpy()
    return to_packed_batch(Batch(ids[real].numpy(), mask.sum(dim=1).numpy(), token_types), torch.device("cpu"))


FEW_HEADS = {"num_key_value_heads": 1}
LAYERS = {"layer_types": ["full_attention", "sliding_attention"]}
# Models with rotary positions, by type: what their configs have besides; texts are longer than the windows.
ROTARY: dict[str, dict[str, Any]] = {
    "modernbert": LAYERS | {"local_attention": 6},
    "modernbert-decoder": LAYERS | {"local_attention": 6},
    "nomic_bert": {},
    "eurobert": FEW_HEADS,
    "llama": FEW_HEADS,
    "mistral": FEW_HEADS | {"sliding_window": 3},
    "qwen2": FEW_HEADS | LAYERS | {"sliding_window": 3, "use_sliding_window": True},
    "qwen3": FEW_HEADS | {"head_dim": 16},
}


def rotary(model_type: str, vocabulary: int | None = None) -> nn.Module:
    """Return a small model of one of the types in ROTARY."""
    words = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": vocabulary or len(VOCABULARY), "max_position_embeddings": 64}
    return fill(AutoModel.from_config(AutoConfig.for_model(model_type, **(words | sizes | ROTARY[model_type]))))


def lexicon_backbone(name: str) -> nn.Module:
    """Return one of the MASKED_LANGUAGE_MODELS."""
    sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64}
    if name == "distilbert":
        config = DistilBertConfig(**sizes, dim=16, n_layers=2, n_heads=2, hidden_dim=32, dropout=0.0)
        return fill(DistilBertForMaskedLM(config))
    if name == "roberta":
        return fill(RobertaForMaskedLM(RobertaConfig(**BERT, pad_token_id=0)))
    return backbone("lexicon", tie_word_embeddings=name == "bert")


def texts(count: int, longest: int, seed: int = 0) -> list[str]:
    """Return random texts of 1 to `longest` tokens."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(LETTERS, random.integers(1, longest + 1))) for _ in range(count)]


def save_store(path: Path, tokenizer: Path, columns: dict[str, list[str]], max_tokens: int = 512) -> TokenStore:
    """Tokenise columns text and, for passages, title into a token store."""
    source = path.with_suffix(".parquet")
    columns = {"id": [str(i) for i in range(len(columns["text"]))], **columns}
    write_strings(source, [columns], list(columns))
    tokenise(source, str(tokenizer), max_tokens, 0, 1, path)
    return TokenStore([path])


def save_passages(path: Path, count: int, texts: Sequence[str] = ()) -> None:
    """Write a prepared table of passages p0, p1, ...; those beyond `texts` have their id as text."""
    ids = [f"p{i}" for i in range(count)]
    passages = {"id": ids, "title": [""] * count, "text": [*texts, *ids[len(texts) :]]}
    write_strings(path, [with_contents(passages)], ["id", "title", "text", CONTENT])


T = TypeVar("T", bound=Section)

# A tiny training in float32. Positives count as negatives of other queries unless a test says otherwise.
SHARED = {
    "batch_size": 4,
    "epochs": 2,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "warmup_fraction": 0.1,
    "precision": "float32",
    "seed": 42,
    "query_length": 8,
    "passage_length": 20,
}
OF_FAMILY = {
    "dense": {"mask_positives": False},
    "lexicon": {"mask_positives": False, "flops_passages": 1e-2, "flops_queries": 2e-2},
    "ranker": {},
}


def settings(family: str, **changes: Any) -> TrainingSettings:
    """Return the settings of a tiny training."""
    return TRAINING[family].model_validate({"family": family, **SHARED, **OF_FAMILY[family], **changes})


def import_settings(family: str, **changes: Any) -> ImportSettings:
    """Return the settings of an imported model with the same lengths."""
    lengths = {key: SHARED[key] for key in ("query_length", "passage_length")}
    return IMPORT[family].model_validate({"family": family, **lengths, **changes})


def changed(settings: T, **changes: Any) -> T:
    """Return settings with other values, validated."""
    return type(settings).model_validate(settings.model_dump() | changes)


def start(
    source: Path | str,
    settings: TrainingSettings | ImportSettings,
    tokenizer: Path | str | None = None,
    passages: Sequence[Path] | None = None,
    query_init: str | None = None,
) -> nn.Module:
    """Return the model that a stage starts from; the default tokenizer is the model's."""
    return saved_model.start(str(source), settings, tokenizer or source, passages, query_init)


def save_dataset(folder: Path, queries: int = 10, passages: int = 30, **changes: Any) -> None:
    """Write a tokenizer, token stores, a trainset with the scores of a teacher `lex`, and an initial model per family.

    Query i has passage i as its positive and all others in its pool; the examples of every epoch that `settings`
    reach are drawn.
    """
    save_tokenizer(folder / "tokenizer")
    save_store(folder / "queries.arrow", folder / "tokenizer", {"text": texts(queries, 10, seed=1)})
    titled = {"title": texts(passages, 5, seed=2), "text": texts(passages, 25, seed=3)}
    save_store(folder / "passages.arrow", folder / "tokenizer", titled)
    pairs = np.array([(i, i) for i in range(queries)], dtype=np.int32)
    others = [np.setdiff1d(np.arange(passages, dtype=np.int32), [i]) for i in range(queries)]
    zeros = [np.zeros(passages - 1, dtype=np.float32)] * queries
    pool = Ranking(np.arange(queries, dtype=np.int32), *map(Ragged.from_rows, (others, zeros), (np.int32, np.float32)))
    write_ranking(folder / "pool.parquet", pool)
    candidates = Candidates([folder / "pool.parquet"], depth=passages)
    schedule = {key: SHARED[key] for key in ("batch_size", "epochs", "seed")} | {"negatives_per_query": 3}
    draw_trainset(pairs, candidates, TrainsetSettings(**{**schedule, **changes}), folder / "drawn.arrow")
    passages_drawn = read_arrow(folder / "drawn.arrow")[0]["passages"].values
    np.save(folder / "lex.npy", 3 * np.random.default_rng(4).standard_normal(len(passages_drawn)).astype(np.float32))
    join(folder / "drawn.arrow", {"lex": [folder / "lex.npy"]}, folder / "trainset.arrow")
    for family in FAMILIES:
        backbone(family).save_pretrained(folder / family)


def vector_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of two systems, dense `den` and sparse `lex`: queries, then two shards of passages."""
    parts = ("train", "passages.0", "passages.1")
    return {s: [folder / f"{s}.{part}.{suffix}" for part in parts] for s, suffix in (("den", "npy"), ("lex", "arrow"))}


def save_vectors(folder: Path, queries: int = 10, passages: int = 30) -> dict[str, list[Path]]:
    """Write random vectors of two systems for the texts of `save_dataset` and return `vector_files`."""
    random, files = np.random.default_rng(5), vector_files(folder)
    for system in files:
        for path, count in zip(files[system], (queries, passages // 3, passages - passages // 3), strict=True):
            matrix = random.standard_normal((count, 12)).astype(np.float16)
            if system == "den":
                np.save(path, matrix)
            else:
                terms = [np.flatnonzero(row > 0) for row in matrix]
                weights = [row[nonzero] for row, nonzero in zip(matrix, terms, strict=True)]
                columns = zip(("terms", "weights"), (terms, weights), (np.uint16, np.float32), strict=True)
                write_arrow(path, {name: Ragged.from_rows(rows, dtype) for name, rows, dtype in columns})
    return files


def validation(folder: Path, ranking: str | None = "ranking.parquet", **changes: Any) -> ValidationFiles:
    """Return the files of a validation in a folder of `save_dataset` with a ranking and qrels; MRR@10 unless given."""
    return ValidationFiles(
        ValidationSettings(**changes),
        folder / "queries.arrow",
        folder / "dev.qrels",
        (folder / "queries.parquet", folder / "passages.parquet"),
        ranking and folder / ranking,
    )


def training(folder: Path, settings: TrainingSettings, out: Path, **changes: Any) -> Training:
    """Return a training on a folder of `save_dataset`."""
    values = {
        "init": str(folder / settings.family),
        "tokenizer": str(folder / "tokenizer"),
        "queries": folder / "queries.arrow",
        "passages": [folder / "passages.arrow"],
        "trainset": folder / "trainset.arrow",
        "settings": settings,
        "checkpoints": out.with_name(f"{out.name}.checkpoints"),
        "out": out,
    }
    return Training(**{**values, **changes})


def masked_settings(**changes: Any) -> MaskedLmTraining:
    """Return the settings of a tiny training of a masked language model."""
    shared = {key: value for key, value in SHARED.items() if key != "query_length"}
    return MaskedLmTraining.model_validate({"family": "masked_lm", **shared, **changes})


def masked_training(folder: Path, settings: MaskedLmTraining, out: Path, **changes: Any) -> MaskedTraining:
    """Return the training of a masked language model on a folder of `save_dataset`."""
    values = {
        "init": str(folder / "lexicon"),
        "tokenizer": str(folder / "tokenizer"),
        "passages": [folder / "passages.arrow"],
        "settings": settings,
        "checkpoints": out.with_name(f"{out.name}.checkpoints"),
        "out": out,
    }
    return MaskedTraining(**{**values, **changes})
