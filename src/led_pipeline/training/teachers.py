"""Teachers: what other systems think of a batch's candidates, from what is stored of them; no model runs.

A query's own candidates have scores in the trainset. What a teacher thinks of other queries' passages is the dot
product of its stored vectors, which are memory-mapped and read by row number.

# B = queries of the global batch, N = passages of the global batch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import Ragged, read_arrow
from led_pipeline.files.errors import InputError

Rows = NDArray[np.integer]


@dataclass(frozen=True)
class _File:
    """The vectors of one file: a dense matrix, or terms and weights."""

    dense: NDArray[np.floating] | None
    terms: Ragged | None
    weights: Ragged | None

    @classmethod
    def read(cls, path: Path) -> "_File":
        if path.suffix == ".npy":
            return cls(matrix(path), None, None)
        columns, _ = read_arrow(path)
        return cls(None, columns["terms"], columns["weights"])

    def __len__(self) -> int:
        return len(self.terms if self.dense is None else self.dense)

    def take(self, rows: Rows) -> "_File":
        if self.dense is not None:
            return _File(np.asarray(self.dense[rows], dtype=np.float32), None, None)
        return _File(None, self.terms.take(rows), self.weights.take(rows))


def _joined(parts: Sequence[_File]) -> NDArray[np.float32] | csr_array:
    """Return the vectors of several files, one below the other, as a matrix in float32."""
    if parts[0].dense is not None:
        return np.concatenate([part.dense for part in parts])
    terms, weights = Ragged.joined([p.terms for p in parts], np.int32), [p.weights.values for p in parts]
    width = int(terms.values.max(initial=-1)) + 1
    return csr_array((np.concatenate(weights), terms.values, terms.offsets), shape=(len(terms), width))


@dataclass(frozen=True)
class StoredVectors:
    """One system's vectors of the training queries and of all passages, the latter in files in row order."""

    queries: _File
    passages: list[_File]
    starts: NDArray[np.int64]  # first row of each file of passages, and the end

    @classmethod
    def read(cls, queries: Path, *passages: Path) -> "StoredVectors":
        """Map the files.

        Raises:
            InputError: some are dense (.npy) and some sparse (.arrow).
        """
        if len(suffixes := {path.suffix for path in (queries, *passages)}) > 1:
            raise InputError(f"{queries}: these vectors and those of the passages are of two kinds, {sorted(suffixes)}")
        files = [_File.read(path) for path in passages]
        return cls(_File.read(queries), files, np.cumsum([0, *map(len, files)]))

    def scores(self, query_rows: Rows, passage_rows: Rows) -> NDArray[np.float32]:
        """Return the dot product of every given query with every given passage, (B, N).

        Raises:
            InputError: a row has no vector.
        """
        for rows, count, what in (
            (query_rows, len(self.queries), "query"),
            (passage_rows, self.starts[-1], "passage"),
        ):
            if rows.max() >= count:
                raise InputError(
                    f"a teacher has {count} {what} vectors, and the trainset names {what} row {rows.max()}; make both"
                    " from the same prepared data"
                )
        unique, inverse = np.unique(passage_rows, return_inverse=True)
        bounds = np.searchsorted(unique, self.starts)
        parts = [
            file.take(unique[low:high] - start)
            for file, low, high, start in zip(self.passages, bounds[:-1], bounds[1:], self.starts, strict=False)
        ]
        left, right = _joined([self.queries.take(query_rows)]), _joined(parts)
        if isinstance(left, np.ndarray):
            return (left @ right.T)[:, inverse]
        width = max(left.shape[1], right.shape[1])
        left.resize(left.shape[0], width)
        right.resize(right.shape[0], width)
        return (left @ right.T).toarray()[:, inverse]
