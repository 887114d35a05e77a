"""Lexicon: dot products of a query's term weights with those of the passages, as impacts.

The inverted index and the vectors on disk give the same ranking: impacts are integers, and their sums are exact.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.search.impacts import quantise, repeated_terms
from led_pipeline.search.top_k import NONE, best, pack, unpack
from led_pipeline.use.encoders import StageModel
from led_pipeline.use.lucene import LuceneIndex
from led_pipeline.use.records import NO_HITS, Hits, Match

BLOCK = 65_536  # passages whose vectors are multiplied at once


class LexiconEngine:
    """A lexicon stage.

    Args:
        paths: the files of the passages' vectors, in row order; may be empty if there is an index.
        index: the inverted index; None: a search multiplies with the vectors of all passages.
    """

    def __init__(self, model: StageModel, paths: Sequence[Path], quantisation: int, index: LuceneIndex | None):
        self._model, self._paths, self._quantisation, self._index = model, paths, quantisation, index

    @cached_property
    def _files(self) -> list[SparseVectors]:
        return [SparseVectors.read(path) for path in self._paths]

    def _impacts(self, query: str) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Return a query's terms and their impacts."""
        impacts = quantise(self._model.sparse(query), self._quantisation, 0, 1, self._model.folder)
        return impacts.terms[0], impacts.weights[0]

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages among those that share a term with the query; ties by passage row."""
        terms, impacts = self._impacts(query)
        if not len(terms):
            return NO_HITS
        if self._index is None:
            return self._products(terms, impacts, depth)
        rows, scores = self._index.search(repeated_terms(terms, impacts), depth)
        return rows, np.rint(scores)

    def _products(self, terms: NDArray[np.integer], impacts: NDArray[np.integer], depth: int) -> Hits:
        of_term = np.zeros(self._vocabulary(terms), dtype=np.float64)
        of_term[terms] = impacts
        keys = np.full(0, NONE)
        for first, block in self._blocks():
            weights = np.rint(block.weights.values * np.float32(self._quantisation)) * of_term[block.terms.values]
            sums = _sums(weights, block.terms.offsets)
            hit = np.flatnonzero(sums)
            keys = best(np.concatenate([keys, pack(sums[hit].astype(np.float32), hit + first)]), depth)
        scores, rows = unpack(np.sort(keys))
        return rows, scores

    def _vocabulary(self, terms: NDArray[np.integer]) -> int:
        """Return one more than the highest term id of any file, or of a query."""
        return max(int(terms.max()) + 1, self._highest + 1)

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
        """Return the impacts of one passage as the only row."""
        for path, file in zip(self._paths, self._files, strict=True):
            if row < len(file):
                return quantise(file, self._quantisation, row, row + 1, path)
            row -= len(file)
        raise IndexError(f"row {row} is beyond the last passage")

    def _shared(self, query: str, row: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the terms that a query and a passage share, and their impacts in both."""
        terms, impacts = self._impacts(query)
        passage = self._passage(row)
        shared, in_query, in_passage = np.intersect1d(terms, passage.terms[0], True, return_indices=True)
        return shared, impacts[in_query], passage.weights[0][in_passage]

    def score(self, query: str, row: int) -> float | None:
        """Return the score of one passage, 0 if it shares no term with the query; None without vectors on disk."""
        if not self._paths:
            return None
        _, of_query, of_passage = self._shared(query, row)
        return float(of_query.astype(np.int64) @ of_passage.astype(np.int64))

    def matches(self, query: str, row: int) -> list[Match]:
        """Return the shared terms, the largest share of the score first; none without vectors on disk."""
        if not self._paths:
            return []
        terms, of_query, of_passage = self._shared(query, row)
        order = np.argsort(-(of_query.astype(np.int64) * of_passage), kind="stable")
        words = self._model.tokeniser.words(terms[order].tolist())
        weights = (of_query[order].astype(float).tolist(), of_passage[order].astype(float).tolist())
        return [Match(*each) for each in zip(words, *weights, strict=True)]


def _sums(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of every row of a ragged array; 0 for an empty one."""
    sums = np.zeros(len(offsets) - 1)
    full = np.flatnonzero(np.diff(offsets))
    if len(full):
        sums[full] = np.add.reduceat(values, offsets[full])
    return sums
