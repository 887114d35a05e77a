"""Lexicon: dot products of a query's term weights with those of the passages.

With Lucene or a posting file, weights are impacts: an index and the vectors on disk then give the same ranking, since
sums of integers are exact. With OpenSearch they are not quantised.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.search.impacts import checked, quantise
from led_pipeline.search.top_k import NONE, best, pack, unpack
from led_pipeline.use.encoders import StageModel
from led_pipeline.use.records import NO_HITS, Hits, Match

BLOCK = 65_536  # passages whose vectors are multiplied at once


class TermIndex(Protocol):
    """An inverted index of the passages' weights."""

    def search_terms(self, query: SparseVectors, depth: int) -> Hits: ...


class LexiconEngine:
    """A lexicon stage.

    Args:
        paths: the files of the passages' vectors, in row order; may be empty if there is an index.
        quantisation: the factor of the impacts; None: weights are not quantised.
        index: None: a search multiplies with the vectors of all passages.
    """

    def __init__(self, model: StageModel, paths: Sequence[Path], quantisation: int | None, index: TermIndex | None):
        self._model, self._paths, self._quantisation, self._index = model, paths, quantisation, index
        self._newest: tuple[str, SparseVectors] | None = None

    @cached_property
    def _files(self) -> list[SparseVectors]:
        return [SparseVectors.read(path) for path in self._paths]

    def _weights(self, vectors: SparseVectors, row: int, path: Path) -> SparseVectors:
        """Return one row with its weights as the scores use them; errors name `path`."""
        if self._quantisation is None:
            return checked(vectors, row, row + 1, path)
        return quantise(vectors, self._quantisation, row, row + 1, path)

    def _query(self, query: str) -> SparseVectors:
        vector = self._weights(self._model.sparse(query), 0, self._model.folder)
        self._newest = query, vector
        return vector

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages among those that share a term with the query; ties by passage row."""
        vector = self._query(query)
        if not len(vector.terms[0]):
            return NO_HITS
        if self._index is not None:
            return self._index.search_terms(vector, depth)
        return self._products(vector.terms[0], vector.weights[0], depth)

    def _products(self, terms: NDArray[np.integer], weights: NDArray, depth: int) -> Hits:
        of_term = np.zeros(max(int(terms.max()), self._highest) + 1, dtype=np.float64)
        of_term[terms] = weights
        keys = np.full(0, NONE)
        for first, block in self._blocks():
            of_passages = block.weights.values
            if self._quantisation is not None:
                of_passages = np.rint(of_passages * of_passages.dtype.type(self._quantisation))
            sums = _sums(of_passages * of_term[block.terms.values], block.terms.offsets)
            hit = np.flatnonzero(sums)
            keys = best(np.concatenate([keys, pack(sums[hit].astype(np.float32), hit + first)]), depth)
        scores, rows = unpack(np.sort(keys))
        return rows, scores

    @cached_property
    def _highest(self) -> int:
        return max(int(file.terms.values.max(initial=0)) for file in self._files)

    def _blocks(self) -> Iterator[tuple[int, SparseVectors]]:
        first = 0
        for file in self._files:
            for start in range(0, len(file), BLOCK):
                yield first + start, file.rows(start, min(start + BLOCK, len(file)))
            first += len(file)

    def _passage(self, row: int) -> SparseVectors:
        """Return the weights of one passage as the only row."""
        for path, file in zip(self._paths, self._files, strict=True):
            if row < len(file):
                return self._weights(file, row, path)
            row -= len(file)
        raise IndexError(f"row {row} is beyond the last passage")

    def _shared(self, query: str, row: int) -> tuple[NDArray[np.integer], NDArray[np.float64], NDArray[np.float64]]:
        """Return the terms that a query and a passage share, and their weights in both."""
        # Matches are asked for one hit after the other: the query is encoded once, by the search.
        left = self._newest[1] if self._newest and self._newest[0] == query else self._query(query)
        right = self._passage(row)
        shared, in_query, in_passage = np.intersect1d(left.terms[0], right.terms[0], True, return_indices=True)
        of_query, of_passage = left.weights[0][in_query], right.weights[0][in_passage]
        return shared, of_query.astype(np.float64), of_passage.astype(np.float64)

    def score(self, query: str, row: int) -> float | None:
        """Return the score of one passage, 0 if it shares no term with the query; None without vectors on disk."""
        if not self._paths:
            return None
        _, of_query, of_passage = self._shared(query, row)
        return float(of_query @ of_passage)

    def matches(self, query: str, row: int) -> list[Match]:
        """Return the shared terms, the largest share of the score first; none without vectors on disk."""
        if not self._paths:
            return []
        terms, of_query, of_passage = self._shared(query, row)
        order = np.argsort(-of_query * of_passage, kind="stable")
        words = self._model.tokeniser.words(terms[order].tolist())
        weights = of_query[order].tolist(), of_passage[order].tolist()
        return [Match(*each) for each in zip(words, *weights, strict=True)]


def _sums(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of every row of a ragged array; 0 for an empty one."""
    sums = np.zeros(len(offsets) - 1)
    full = np.flatnonzero(np.diff(offsets))
    if len(full):
        sums[full] = np.add.reduceat(values, offsets[full])
    return sums
