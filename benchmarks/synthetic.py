"""Generate synthetic data of MS MARCO's shape: texts, queries, judgements, published negatives, vectors, rankings.

300,000 artificial words follow Zipf's law. A passage has 56 words on average (log-normal, median 51), a query 6 words
of its relevant passage, without the 30 most frequent words, which represent stop words. The tokenizer splits rare words
into two or three pieces, so that a passage has about 75. Everything is drawn from one seed.
"""

import gzip
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from led_pipeline.data.tables import Ragged, Ranking, shard_range, write_arrow, write_ranking

WORDS = 300_000
STOP_WORDS = 30
WHOLE_WORDS = 2_000  # words that are one piece
MEDIAN_WORDS, SPREAD = 51, 0.43  # of a passage: mean 56, standard deviation 25
TRAIN_QUERIES, DEV_QUERIES = 502_939 / 8_841_823, 6_980 / 8_841_823  # per passage
NEGATIVES = 100  # published per training query; MS MARCO's file has 790
PIECES = 30_522
TERMS = {"passage": 120, "query": 25}
DIMENSIONS = 768
BLOCK = 50_000
SYLLABLES = ["".join(pair) for pair in product("bcdfghjklmnprstvwxyz", "aeiou")]


def words() -> list[str]:
    """Return the words, the most frequent first: two syllables each, and three beyond 10,000."""
    return [
        "".join(SYLLABLES[i // 100**place % 100] for place in reversed(range(2 if i < 10_000 else 3)))
        for i in range(WORDS)
    ]


def save_tokenizer(folder: Path) -> None:
    """Write a word-piece tokenizer that knows the most frequent words and all syllables."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *SYLLABLES, *(f"##{s}" for s in SYLLABLES), *words()[:WHOLE_WORDS]])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {f"{token.strip('[]').lower()}_token": token for token in special}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


class Words:
    """Draws words by Zipf's law."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random, self.words = random, words()
        weights = 1 / np.arange(1, WORDS + 1)
        self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, lengths: NDArray) -> list[NDArray]:
        """Return word numbers for texts of the given lengths."""
        drawn = np.searchsorted(self._cumulative, self.random.random(int(lengths.sum())))
        return np.split(np.minimum(drawn, WORDS - 1), np.cumsum(lengths)[:-1])

    def text(self, numbers: NDArray) -> str:
        return " ".join([self.words[number] for number in numbers.tolist()])


def write_source(folder: Path, passages: int, seed: int = 1) -> dict[str, int]:
    """Write collection, titles, queries, qrels and published negatives; return how many queries there are."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    source = Words(random)
    splits = {"train": round(passages * TRAIN_QUERIES), "dev": max(1, round(passages * DEV_QUERIES))}
    chosen = random.choice(passages, sum(splits.values()), replace=False)
    split_of = dict(zip(chosen.tolist(), np.repeat([*splits], [*splits.values()]).tolist(), strict=True))
    names = [f"{kind}.{split}.tsv" for kind in ("queries", "qrels") for split in splits]
    files = {name: (folder / name).open("w") for name in ("collection.tsv", "titles.tsv", *names)}
    for start in range(0, passages, BLOCK):
        count = min(BLOCK, passages - start)
        lengths = np.clip(random.lognormal(np.log(MEDIAN_WORDS), SPREAD, count), 5, 400).astype(np.int64)
        texts = zip(source.draw(lengths), source.draw(np.full(count, 6)), strict=True)
        for pid, (numbers, title) in enumerate(texts, start):
            files["collection.tsv"].write(f"{pid}\t{source.text(numbers)}\n")
            files["titles.tsv"].write(f"{pid}\t{source.text(title)}\n")
            if split := split_of.get(pid):
                rare = numbers[numbers >= STOP_WORDS]
                files[f"queries.{split}.tsv"].write(f"{pid}\t{source.text((rare if len(rare) else numbers)[:6])}\n")
                files[f"qrels.{split}.tsv"].write(f"{pid}\t0\t{pid}\t1\n")
    for file in files.values():
        file.close()
    with gzip.open(folder / "negatives.tsv.gz", "wt", compresslevel=1) as file:
        for qid in sorted(pid for pid, split in split_of.items() if split == "train"):
            file.writelines(f"{qid}\t{qid}\t{pid}\n" for pid in random.integers(0, passages, NEGATIVES).tolist())
    return splits


def _sparse_blocks(random: np.random.Generator, texts: int, terms: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield numbers of terms per text, and the ascending terms; frequent pieces are frequent terms."""
    cumulative = np.cumsum(1 / np.arange(10, PIECES + 10) ** 0.7)
    for start in range(0, texts, BLOCK):
        lengths = random.poisson(terms * 1.06, min(BLOCK, texts - start))  # some come twice
        row = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        drawn = np.searchsorted(cumulative, random.random(len(row)) * cumulative[-1])
        keys = np.unique(row * PIECES + np.minimum(drawn, PIECES - 1))
        yield np.bincount(keys // PIECES, minlength=len(lengths)), (keys % PIECES).astype(np.uint16)


def write_vectors(path: Path, texts: int, side: str, seed: int) -> None:
    """Write vectors as an encoding would: a float16 matrix (.npy), or weights of terms (.arrow)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    if path.suffix == ".npy":
        matrix = np.lib.format.open_memmap(path, "w+", np.float16, (texts, DIMENSIONS))
        for start in range(0, texts, BLOCK):
            matrix[start : start + BLOCK] = random.standard_normal(
                (min(BLOCK, texts - start), DIMENSIONS), dtype=np.float32
            )
        return
    lengths, terms = zip(*_sparse_blocks(random, texts, TERMS[side]), strict=True)
    values = np.concatenate(terms)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    weights = random.gamma(2, 0.4, len(values)).astype(np.float32)
    write_arrow(
        path, {"terms": Ragged(values, offsets), "weights": Ragged(weights, offsets)}, {"vocabulary": str(PIECES)}
    )


def write_random_ranking(path: Path, queries: int, shard: int, shards: int, passages: int, hits: int) -> None:
    """Write the ranking of a shard of queries as a search would, with random passages, none of them twice."""
    random = np.random.default_rng(shard)
    start, stop = shard_range(queries, shard, shards)
    hits = min(hits, passages)
    strides = np.array([stride for stride in range(1, 10_000) if np.gcd(stride, passages) == 1])
    places = random.choice(strides, (stop - start, 1)) * np.arange(hits)
    rows = ((random.integers(0, passages, (stop - start, 1)) + places) % passages).astype(np.int32)
    scores = -np.sort(-random.random((stop - start, hits), dtype=np.float32), axis=1)
    offsets = np.arange(stop - start + 1, dtype=np.int64) * hits
    numbers = np.arange(start, stop, dtype=np.int32)
    write_ranking(path, Ranking(numbers, Ragged(rows.ravel(), offsets), Ragged(scores.ravel(), offsets)))
