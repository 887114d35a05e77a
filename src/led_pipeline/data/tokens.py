"""Tokenise texts once, on all cores, into token stores, and build the models' batches from these memory maps.

Run as `python -m led_pipeline.data.tokens --texts passages.parquet --tokenizer NAME --max-tokens N --out FILE`, with
`--shard I --shards S` for a part of the texts.

The store holds titles and texts separately, without special tokens; `TokenStore` builds the models' inputs from them:
`[CLS] query [SEP]`, `[CLS] title [SEP] passage [SEP]`, or a query and a passage for a cross-encoder. Two parts are
separated as the tokenizer does it: by one [SEP], RoBERTa by two. A passage without a title is `[CLS] passage [SEP]`, or
`[CLS] [SEP] passage [SEP]` with `untitled: empty_title`, as in LED's code. A stage's `title_separator` takes the place
of the separators between title and passage. A batch is built without a loop over its texts and without padding. With
tokenizers without [CLS] and [SEP] (T5, decoders), an input is the bare text, title first, after the token that the
tokenizer prepends (Llama's <s>), and before the end-of-sequence token if a stage asks for one (`append_eos`).

# B = texts, N = tokens of all texts
"""

import argparse
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged, places
from led_pipeline.data.tables import count_rows, read_arrow, read_rows, shard_range, write_arrow
from led_pipeline.data.tokeniser import NONE, SPECIAL, Tokeniser, Tokens
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.recipe.representation import DenseRepresentation, RankerRepresentation
from led_pipeline.recipe.step_settings import ModelSettings


def tokenise(texts: Path, tokenizer: str, max_tokens: int, shard: int, shards: int, out: Path) -> None:
    """Write the token ids of one shard of a Parquet file with the columns text and, for passages, title."""
    tokeniser = Tokeniser(tokenizer, max_tokens)
    names = [name for name in ("title", "text") if name in pq.read_schema(texts).names]
    start, stop = shard_range(count_rows(texts), shard, shards)
    parts: dict[str, list[Ragged]] = {name: [] for name in names}
    with Progress("tokenise", stop - start, "texts") as progress:
        for batch in read_rows(texts, start, stop, names):
            for name in names:
                for part in tokeniser.parts(batch[name]):
                    parts[name].append(part)
                    progress.add(len(part) if name == "text" else 0)
    columns = {name: Ragged.joined(parts.pop(name), tokeniser.dtype) for name in names}
    write_arrow(out, {**columns}, tokeniser.metadata)


def title_and_text(titles: NDArray, texts: NDArray, room: int) -> tuple[NDArray, NDArray]:
    """Return how many tokens of each title and text fit into `room` together; the longer of the two is cut first."""
    shorter = np.minimum(np.minimum(titles, texts), room // 2)
    longer = np.where(titles + texts <= room, np.maximum(titles, texts), room - shorter)
    first_is_shorter = titles <= texts
    return np.where(first_is_shorter, shorter, longer), np.where(first_is_shorter, longer, shorter)


@dataclass(frozen=True)
class Batch:
    """Concatenated texts without padding: all token ids (N,), and the number of tokens of each text (B,).

    `types` is 1 at the tokens of a pair's passage and 0 at the others; None means all 0, for texts that are no pairs.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    types: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """The position of each text's first token."""
        return np.cumsum(self.lengths) - self.lengths

    def followed_by(self, *others: "Batch") -> "Batch":
        """Return these texts and then those of the other batches, as one batch without token types."""
        batches = (self, *others)
        return Batch(np.concatenate([b.ids for b in batches]), np.concatenate([b.lengths for b in batches]))


class TokenStore:
    """Token ids of all queries of a split, or of all passages: memory maps of one or more shards, in order.

    Texts that a `Tokeniser` has tokenised in memory are a shard, too.
    """

    def __init__(self, shards: Sequence[Path | str | Tokens], append_eos: bool = False, empty_title: bool = False):
        if not shards:
            raise ValueError("a token store needs at least one shard")
        parts = [shard if isinstance(shard, tuple) else read_arrow(shard) for shard in shards]
        self._columns = [columns for columns, _ in parts]
        self._starts = np.cumsum([0, *(len(columns.ragged("text")) for columns in self._columns)])
        special = [int(parts[0][1].get(name, NONE)) for name in SPECIAL]
        self.cls, self.sep, self.pad, self.unk, self.eos = special
        self.vocabulary = int(parts[0][1]["vocabulary"])
        self.bracketed = self.cls != NONE  # texts begin with [CLS] and end with [SEP]
        self.begin = self.cls if self.bracketed else int(parts[0][1].get("begin", NONE))  # Llama's <s>
        self.between = int(parts[0][1]["between"])  # separators between title and text, query and passage
        self.append_eos = append_eos
        self._after_title = np.full(self.between if self.bracketed else 0, self.sep, dtype=np.int64)
        self._empty_title = empty_title and all("title" in columns for columns in self._columns)  # not of queries

    @classmethod
    def for_stage(cls, shards: Sequence[Path | str | Tokens], settings: ModelSettings) -> "TokenStore":
        """Return a store that reads texts as a stage's settings say.

        Raises:
            InputError: its tokenizer lacks special tokens that the stage needs.
        """
        dense = settings if isinstance(settings, DenseRepresentation) else None
        in_template = isinstance(settings, RankerRepresentation) and settings.scoring == "true_false"
        append = dense is not None and dense.append_eos
        store = cls(shards, append, settings.untitled == "empty_title")
        if append and (store.bracketed or store.eos == NONE):
            fault = "ends every text with [SEP]" if store.bracketed else "has no eos token"
            raise InputError(f"append_eos: the tokenizer {fault}; leave this key out")
        if in_template:
            store.begin = NONE
        pools = dense is not None and not dense.encoder and dense.encoder_decoder != "first_decoder_token"
        if dense is not None and pools and dense.pooling == "cls" and store.begin == NONE:
            raise InputError(
                "pooling: cls is the vector of the first token, and the tokenizer puts none before a text, so that it"
                " would be that of the text's first word; write pooling: mean (T5's encoder), or last (decoders)"
            )
        if not (dense or in_template or store.bracketed):
            raise InputError(
                f"tokenizer: a stage of the family {settings.family} reads [CLS] text [SEP], and the tokenizer has"
                " no such tokens; name a BERT-like one"
            )
        return store

    def with_title_separator(self, ids: NDArray[np.int64]) -> "TokenStore":
        """Return a store of the same texts that reads these token ids between a title and its text."""
        store = copy(self)
        store._after_title = ids
        return store

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def _stored(self) -> dict[str, NDArray[np.int32]]:
        """The number of tokens of every row's title and text, counted once."""
        counts: dict[str, list[NDArray[np.int32]]] = {"title": [], "text": []}
        for columns in self._columns:
            for name, parts in counts.items():
                lengths = columns.ragged(name).lengths if name in columns else np.zeros(len(columns.ragged("text")))
                parts.append(lengths.astype(np.int32))
        return {name: np.concatenate(parts) for name, parts in counts.items()}

    def lengths(self, rows: Sequence[int] | NDArray, length: int) -> NDArray[np.int64]:
        """Return the number of tokens that `texts` returns for each row, special tokens included."""
        titles, texts, titled = self._cut(np.asarray(rows, dtype=np.int64), length)
        return titles + texts + titled * len(self._after_title) + self._around(titles + texts)

    def has_tokens(self, rows: Sequence[int] | NDArray) -> NDArray[np.bool_]:
        """Return which rows have a token in title or text, special tokens aside."""
        return (self._stored["title"][rows] > 0) | (self._stored["text"][rows] > 0)

    def _around(self, tokens: NDArray) -> NDArray[np.int64]:
        """Return how many tokens are before and after each text; a bare text without tokens always gets its eos."""
        if self.bracketed:
            return np.full(len(tokens), 2)
        return np.maximum(self._leading + int(self.append_eos), tokens == 0)

    @property
    def _leading(self) -> int:
        """The number of special tokens before a text."""
        return int(self.begin != NONE)

    def _cut(self, rows: NDArray[np.int64], length: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return how many tokens of each row's title and text are read, and whether its input has a title."""
        titles, texts = (self._stored[name][rows].astype(np.int64) for name in ("title", "text"))
        titled = (titles > 0) | self._empty_title
        ends = 2 if self.bracketed else self._leading + int(self.append_eos)
        both = title_and_text(titles, texts, max(0, length - ends - len(self._after_title)))
        return both[0], np.where(titled, both[1], np.minimum(texts, length - ends)), titled

    def texts(self, rows: Sequence[int] | NDArray, length: int) -> Batch:
        """Return `[CLS] text [SEP]`, or `[CLS] title [SEP] text [SEP]` if there is a title, truncated to `length`.

        With `empty_title`, every passage has the latter form. Without [CLS] and [SEP]: title and text, after the token
        that the tokenizer prepends, if any, and before the eos token if it is appended; these two are never cut off,
        and neither is the title separator.
        """
        rows = np.asarray(rows, dtype=np.int64)
        titles, texts, titled = self._cut(rows, length)
        around, separator = self._around(titles + texts), self._after_title
        lengths = titles + texts + titled * len(separator) + around
        before = self._leading
        after = around - before
        ends = np.cumsum(lengths)
        ids = np.empty(lengths.sum(), dtype=np.int64)
        if self._leading:
            ids[ends - lengths] = self.begin
        if self.bracketed:
            ids[ends - 1] = self.sep
        else:
            ids[(ends - 1)[after > 0]] = self.eos
        for place, token in enumerate(separator):
            ids[(ends - texts - after - len(separator) + place)[titled]] = token
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards):
            in_shard = np.flatnonzero(shards == shard)
            local, columns = rows[in_shard] - self._starts[shard], self._columns[shard]
            for name, counts, start in (
                ("title", titles, ends - lengths + before),
                ("text", texts, ends - texts - after),
            ):
                if name in columns:
                    column, count = columns.ragged(name), counts[in_shard]
                    ids[places(start[in_shard], count)] = column.values[places(column.offsets[local], count)]
        return Batch(ids, lengths)


def shared_tokens(store: TokenStore) -> int:
    """Return how many tokens a passage loses after a query: its [CLS], unless a second separator takes its place."""
    return int(store.between == 1)


def pairs(
    queries: TokenStore,
    query_rows: NDArray,
    query_length: int,
    passages: TokenStore,
    passage_rows: NDArray,
    passage_length: int,
) -> Batch:
    """Return `[CLS] query [SEP] title [SEP] passage [SEP]` for a cross-encoder, each side cut as for a bi-encoder.

    The tokenizer decides how many [SEP] separate two parts. Without [CLS] and [SEP], the pair is query, title and
    passage, distinguished only by their token types.
    """
    left, right = queries.texts(query_rows, query_length), passages.texts(passage_rows, passage_length)
    lengths = left.lengths + right.lengths - shared_tokens(queries)
    ends = np.cumsum(lengths)
    ids, types = np.empty(lengths.sum(), dtype=np.int64), np.ones(lengths.sum(), dtype=np.int64)
    ids[places(ends - right.lengths, right.lengths)] = right.ids
    of_query = places(ends - lengths, left.lengths)
    ids[of_query], types[of_query] = left.ids, 0  # the query's [SEP] replaces the passage's [CLS]
    if queries.between == 2:  # or a second [SEP] does
        ids[ends - right.lengths] = queries.sep
    return Batch(ids, lengths, types)


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
