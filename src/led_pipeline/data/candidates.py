"""Candidates: what each training query's negatives are drawn from, read from the pools of several systems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged, places
from led_pipeline.data.scores import key, keys_of
from led_pipeline.data.tables import Ranking, read_ranking
from led_pipeline.recipe.values import NegativeSource

QUERIES = 16_384  # query rows whose candidates are held at once


@dataclass(frozen=True)
class Candidates:
    """Each query's candidates: the first `depth` of every pool, in the order of the pools; read from their files.

    A pool's selection, if there is one, says which of these to take (`NegativeSource` has the keys):
    filters by score first, then `skip`, then one of `first`, `last` and `random`. What is random depends on the seed,
    the query and the passage alone.
    """

    pools: Sequence[Path]
    depth: int
    deduplicate: bool = False  # the first occurrence stays
    scored: Sequence[Path] = ()  # rankings that must have a score of every candidate
    selections: Sequence[NegativeSource | None] = ()  # of each pool, or none at all
    seed: int = 0
    positives: NDArray[np.int64] | None = None  # keys of (query, text) that are no candidates, ascending
    texts: NDArray[np.int32] | None = None  # the first row with each passage's text (`same_text`); its own unless given

    def read(self, start: int, stop: int) -> Ragged:
        """Return the candidates of the query rows start..stop."""
        selections = self.selections or [None] * len(self.pools)
        parts = [self._part(path, which, start, stop) for path, which in zip(self.pools, selections, strict=True)]
        query_of, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(query_of, kind="stable")
        query_of, values = query_of[order], values[order]
        if self.deduplicate:
            kept = np.unique(key(query_of, values), return_index=True)[1]
            kept.sort()
            query_of, values = query_of[kept], values[kept]
        for path in self.scored:
            known = np.isin(key(query_of, values), keys_of(read_ranking(path, start, stop)))
            query_of, values = query_of[known], values[known]
        if self.positives is not None:
            wrong = np.isin(key(query_of, self.texts_of(values)), self.positives)
            query_of, values = query_of[~wrong], values[~wrong]
        return Ragged(values, np.searchsorted(query_of, np.arange(start, stop + 1)))

    def texts_of(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the first row with the text of each passage."""
        return rows if self.texts is None else self.texts[rows]

    def blocks(self, queries: int) -> Iterator[tuple[int, int, Ragged]]:
        """Yield the candidates of the query rows from 0 to `queries` in blocks, with the rows they begin and end at."""
        for start in range(0, queries, QUERIES):
            stop = min(start + QUERIES, queries)
            yield start, stop, self.read(start, stop)

    def _part(self, path: Path, which: NegativeSource | None, start: int, stop: int) -> tuple[NDArray, NDArray]:
        """Return the query rows and passage rows that one pool gives."""
        pool = read_ranking(path, start, stop)
        lengths = np.minimum(pool.passages.lengths, self.depth)
        query_of = np.repeat(pool.queries, lengths)
        values = pool.passages.values[places(pool.passages.offsets[:-1], lengths)]
        if which is None:
            return query_of, values
        scores = pool.scores.values[places(pool.scores.offsets[:-1], lengths)]
        kept = selected(query_of, values, scores, which, self.seed)
        return query_of[kept], values[kept]


def selected(
    query_of: NDArray, values: NDArray, scores: NDArray, which: NegativeSource, seed: int
) -> NDArray[np.int64]:
    """Return the places of the entries that a selection takes, in their order.

    Args:
        query_of, values, scores: query rows (ascending), passage rows and scores, best first within a query.
    """
    found = np.ones(len(values), dtype=bool)
    if which.min_score is not None:
        found &= scores >= which.min_score
    if which.max_score is not None:
        found &= scores < which.max_score
    kept = np.flatnonzero(found)
    kept = kept[_ranks(query_of[kept])[0] >= which.skip]
    rank, count = _ranks(query_of[kept])
    if which.first:
        return kept[rank < which.first]
    if which.last:
        return kept[rank >= count - which.last]
    if which.random:
        shuffled = np.lexsort((_noise(key(query_of[kept], values[kept]), seed), query_of[kept]))
        return np.sort(kept[shuffled[rank < which.random]])
    return kept


def _ranks(query_of: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for every entry its rank within its query, from 0, and how many the query has."""
    _, first, inverse, counts = np.unique(query_of, return_index=True, return_inverse=True, return_counts=True)
    return np.arange(len(query_of)) - first[inverse], counts[inverse]


def _noise(keys: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a number per key that looks random and depends on the seed and the key alone (splitmix64)."""
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + np.uint64(seed % 2**32 + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def above(ranking: Path, queries: int, score: float) -> NDArray[np.int32]:
    """Return the (query row, passage row) of a stored ranking's pairs that score at least `score`."""
    found = [np.empty((0, 2), dtype=np.int32)]
    for start in range(0, queries, QUERIES):
        part: Ranking = read_ranking(ranking, start, start + QUERIES)
        rows = np.stack([np.repeat(part.queries, part.passages.lengths), part.passages.values], axis=1)
        found.append(rows[part.scores.values >= score])
    return np.concatenate(found)
