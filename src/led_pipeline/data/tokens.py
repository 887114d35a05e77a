"""Tokens: texts as token ids, tokenised once by all cores and memory-mapped ever after.

Run as `python -m led_pipeline.data.tokens --texts passages.parquet --tokenizer NAME --max-tokens N --out FILE`, with
`--shard I --shards S` for a part of the texts.

The store holds titles and texts apart, without special tokens; `TokenStore` puts together what a model reads:
`[CLS] query [SEP]`, `[CLS] title [SEP] passage [SEP]`, or a query and a passage for a cross-encoder.

# B = texts, T = token positions
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from led_pipeline.data.tables import Ragged, count_rows, read_arrow, read_rows, shard_range, write_arrow
from led_pipeline.files import InputError, run_main

AT_ONCE = 4_096  # texts; what the tokenizer returns takes many times the memory of the ids
SPECIAL = ("cls", "sep", "pad", "unk")


def tokenise(texts: Path, tokenizer: str, max_tokens: int, shard: int, shards: int, out: Path) -> None:
    """Write the token ids of one shard of a Parquet file with the columns text and, for passages, title."""
    from transformers import AutoTokenizer  # slow to import, and only this command needs it

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    special = {name: getattr(loaded, f"{name}_token_id") for name in SPECIAL}
    if None in special.values():
        missing = [name for name, value in special.items() if value is None]
        raise InputError(
            f"tokenizer '{tokenizer}': it has no {' and no '.join(missing)} token; a BERT-like tokenizer is expected"
        )
    fast = loaded.backend_tokenizer
    fast.no_truncation()
    fast.no_padding()
    dtype = np.uint16 if len(loaded) <= 2**16 else np.uint32
    names = [name for name in ("title", "text") if name in pq.read_schema(texts).names]
    start, stop = shard_range(count_rows(texts), shard, shards)
    parts: dict[str, list[Ragged]] = {name: [] for name in names}
    for batch in read_rows(texts, start, stop, names):
        for name in names:
            for first in range(0, len(batch[name]), AT_ONCE):
                encoded = fast.encode_batch_fast(batch[name][first : first + AT_ONCE], add_special_tokens=False)
                rows = [np.asarray(e.ids[:max_tokens], dtype=dtype) for e in encoded]
                parts[name].append(Ragged.from_rows(rows, dtype))
    metadata = {name: str(value) for name, value in special.items()} | {"vocabulary": str(len(loaded))}
    write_arrow(out, {name: Ragged.joined(parts.pop(name), dtype) for name in names}, metadata)


def title_and_text(title: int, text: int, room: int) -> tuple[int, int]:
    """Return how many tokens of a title and a text fit into `room`, cutting the longer of the two first."""
    if title + text <= room:
        return title, text
    shorter = min(title, text, room // 2)
    return (shorter, room - shorter) if title <= text else (room - shorter, shorter)


@dataclass(frozen=True)
class Batch:
    """Padded model input, all (B, T): token ids, 1 at real tokens, and 1 at the passage part of a pair."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    types: NDArray[np.int64]


class TokenStore:
    """Token ids of all texts of one kind, in one or more shards in order, as memory maps."""

    def __init__(self, shards: Sequence[Path | str]):
        if not shards:
            raise ValueError("a token store needs at least one shard")
        parts = [read_arrow(path) for path in shards]
        self._columns = [columns for columns, _ in parts]
        self._starts = np.cumsum([0, *(len(columns["text"]) for columns in self._columns)])
        self.cls, self.sep, self.pad, self.unk = (int(parts[0][1][name]) for name in SPECIAL)
        self.vocabulary = int(parts[0][1]["vocabulary"])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def row(self, row: int) -> tuple[NDArray, NDArray]:
        """Return the token ids of one row's title (empty where there is none) and text."""
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        columns, local = self._columns[shard], row - self._starts[shard]
        text = columns["text"][local]
        return (columns["title"][local] if "title" in columns else text[:0]), text

    def lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the number of title and text tokens of the rows start..stop, without special tokens."""
        total = [sum(column.lengths for column in columns.values()) for columns in self._columns]
        return np.concatenate(total)[start:stop]

    def texts(self, rows: Sequence[int] | NDArray, length: int) -> Batch:
        """Return `[CLS] text [SEP]`, or `[CLS] title [SEP] text [SEP]` where there is a title, cut to `length`."""
        return self._pad([self._wrap(*self.row(row), length) for row in rows])

    def _wrap(self, title: NDArray, text: NDArray, length: int) -> list[NDArray]:
        if len(title) == 0:
            return [np.concatenate(([self.cls], text[: length - 2], [self.sep]))]
        titles, texts = title_and_text(len(title), len(text), length - 3)
        return [np.concatenate(([self.cls], title[:titles], [self.sep], text[:texts], [self.sep]))]

    def _pad(self, parts: list[list[NDArray]]) -> Batch:
        """Join each text's parts (query part, passage part) and pad to the longest text of the batch."""
        width = max(sum(map(len, row)) for row in parts)
        ids = np.full((len(parts), width), self.pad, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for i, row in enumerate(parts):
            end = 0
            for kind, part in enumerate(row):
                ids[i, end : end + len(part)] = part
                types[i, end : end + len(part)] = kind
                end += len(part)
            mask[i, :end] = 1
        return Batch(ids, mask, types)


def pairs(
    queries: TokenStore,
    query_rows: NDArray,
    query_length: int,
    passages: TokenStore,
    passage_rows: NDArray,
    passage_length: int,
) -> Batch:
    """Return `[CLS] query [SEP] title [SEP] passage [SEP]` for a cross-encoder, each side cut as for a bi-encoder."""
    parts = []
    for query, passage in zip(query_rows, passage_rows, strict=True):
        first = queries._wrap(*queries.row(query), query_length)[0]
        second = passages._wrap(*passages.row(passage), passage_length)[0][1:]  # without its [CLS]
        parts.append([first, second])
    return passages._pad(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokenise texts once.")
    parser.add_argument("--texts", required=True, type=Path)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    tokenise(a.texts, a.tokenizer, a.max_tokens, a.shard, a.shards, a.out)


if __name__ == "__main__":
    run_main(main)
