"""Read each training query's candidate negatives from the pools of several systems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged, places
from led_pipeline.data.scores import key, keys_of
from led_pipeline.data.tables import read_ranking
from led_pipeline.recipe.values import NegativeSource

QUERIES = 4_096  # query rows whose candidates are held at once


@dataclass(frozen=True)
class Candidates:
    """Each query's candidates: the first `depth` passages of every pool, in the order of the pools.

    A pool may have a selection of these (`NegativeSource` has the keys): filters by score first, then `skip`, then one
    of `first`, `last` and `random`. The random choice depends only on the seed, the query and the passage.
    """

    pools: Sequence[Path]
    depth: int
    deduplicate: bool = False  # keep the first occurrence only
    scored: Sequence[Path] = ()  # rankings that must score every candidate
    selections: Sequence[NegativeSource | None] = ()  # one per pool, or empty
    seed: int = 0
    positives: NDArray[np.int64] | None = None  # keys of (query, text) to exclude, ascending
    texts: NDArray[np.int32] | None = None  # first row with each passage's text (`same_text`); default: its own row
    dropped: Path | None = None  # a ranking of candidates to leave out
    first: int | None = None  # leave out what is not among this number of passages of its pool; None: nothing

    def within(self, first: int) -> "Candidates":
        """Return those of the candidates that are among the first passages of their pools."""
        return replace(self, first=first if first < self.depth else None)

    def read(self, start: int, stop: int) -> Ragged:
        """Return the candidates of the query rows start..stop."""
        selections = self.selections or [None] * len(self.pools)
        parts = [self._part(path, chosen, start, stop) for path, chosen in zip(self.pools, selections, strict=True)]
        query_of, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(query_of, kind="stable")
        query_of, values = query_of[order], values[order]
        if self.deduplicate:
            first = np.sort(np.unique(key(query_of, values), return_index=True)[1])
            query_of, values = query_of[first], values[first]
        for path in self.scored:
            has_score = np.isin(key(query_of, values), keys_of(read_ranking(path, start, stop)))
            query_of, values = query_of[has_score], values[has_score]
        if self.dropped is not None:
            stays = ~np.isin(key(query_of, values), keys_of(read_ranking(self.dropped, start, stop)))
            query_of, values = query_of[stays], values[stays]
        if self.positives is not None:
            positive = np.isin(key(query_of, self.texts_of(values)), self.positives)
            query_of, values = query_of[~positive], values[~positive]
        return Ragged(values, np.searchsorted(query_of, np.arange(start, stop + 1)))

    def texts_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return for each passage the first row with its text."""
        return rows if self.texts is None else self.texts[rows]

    def blocks(self, queries: int) -> Iterator[tuple[int, int, Ragged]]:
        """Yield (start, stop, candidates) for blocks of query rows from 0 to `queries`."""
        for start in range(0, queries, QUERIES):
            stop = min(start + QUERIES, queries)
            yield start, stop, self.read(start, stop)

    def _part(self, path: Path, selection: NegativeSource | None, start: int, stop: int) -> tuple[NDArray, NDArray]:
        """Return the query rows and passage rows of one pool's candidates."""
        pool = read_ranking(path, start, stop)
        lengths = np.minimum(pool.passages.lengths, self.depth)
        query_of = np.repeat(pool.queries, lengths)
        values = pool.passages.values[places(pool.passages.offsets[:-1], lengths)]
        if selection is None:
            near = slice(None) if self.first is None else _ranks(query_of)[0] < self.first
            return query_of[near], values[near]
        scores = pool.scores.values[places(pool.scores.offsets[:-1], lengths)]
        positions = selected(query_of, values, scores, selection, self.seed)
        if self.first is not None:
            positions = positions[_ranks(query_of)[0][positions] < self.first]
        return query_of[positions], values[positions]


def selected(
    query_of: NDArray, values: NDArray, scores: NDArray, selection: NegativeSource, seed: int
) -> NDArray[np.int64]:
    """Return the positions of the entries that a selection takes, ascending.

    Args:
        query_of, values, scores: query rows (ascending), passage rows and scores, best first within a query.
    """
    in_range = np.ones(len(values), dtype=bool)
    if selection.min_score is not None:
        in_range &= scores >= selection.min_score
    if selection.max_score is not None:
        in_range &= scores < selection.max_score
    positions = np.flatnonzero(in_range)
    positions = positions[_ranks(query_of[positions])[0] >= selection.skip]
    rank, count = _ranks(query_of[positions])
    if selection.first:
        return positions[rank < selection.first]
    if selection.last:
        return positions[rank >= count - selection.last]
    if selection.random:
        query, passage = query_of[positions], values[positions]
        shuffled = np.lexsort((_noise(key(query, passage), seed), query))
        return np.sort(positions[shuffled[rank < selection.random]])
    return positions


def _ranks(query_of: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for every entry its rank within its query, from 0, and the number of the query's entries."""
    _, first, inverse, counts = np.unique(query_of, return_index=True, return_inverse=True, return_counts=True)
    return np.arange(len(query_of)) - first[inverse], counts[inverse]


def _noise(keys: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a pseudo-random number per key, a function of seed and key only (splitmix64)."""
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + np.uint64(seed % 2**32 + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def above(ranking: Path, queries: int, score: float) -> NDArray[np.int32]:
    """Return the (query row, passage row) pairs of a stored ranking with a score of at least `score`."""
    pairs = [np.empty((0, 2), dtype=np.int32)]
    for start in range(0, queries, QUERIES):
        part = read_ranking(ranking, start, start + QUERIES)
        rows = np.stack([np.repeat(part.queries, part.passages.lengths), part.passages.values], axis=1)
        pairs.append(rows[part.scores.values >= score])
    return np.concatenate(pairs)
