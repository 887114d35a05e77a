"""Read a stage's stored vectors, dense (.npy) or sparse (.arrow), and compute their dot products.

`pair_products` scores given pairs of a query and a passage, `all_products` every query with every passage. Files are
memory-mapped; vectors are addressed by row number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from led_pipeline.data.opened import matrix
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import read_arrow
from led_pipeline.files.errors import InputError

QUERY_BLOCK = 128  # queries of sparse pairs that are scored at once
PAIR_BLOCK = 16_384  # sparse pairs that are scored at once
DENSE_BLOCK = 1_024  # dense pairs that are scored at once, few enough to stay in a processor's cache

Rows: TypeAlias = NDArray[np.integer]


@dataclass(frozen=True)
class SparseVectors:
    """Vectors as ragged rows of term ids and their weights; a term occurs once in a row."""

    terms: Ragged
    weights: Ragged

    def __len__(self) -> int:
        return len(self.terms)

    @classmethod
    def read(cls, path: Path | str) -> "SparseVectors":
        """Map a file of sparse vectors."""
        columns, _ = read_arrow(path)
        terms, weights = columns.get("terms"), columns.get("weights")
        if not isinstance(terms, Ragged) or not isinstance(weights, Ragged):
            raise InputError(f"{path}: not a file of sparse vectors, its columns are {', '.join(columns)}")
        return cls(terms, weights)

    @property
    def vocabulary(self) -> int:
        """One more than the highest term id."""
        return int(self.terms.values.max()) + 1 if len(self.terms.values) else 0

    def rows(self, start: int, stop: int) -> "SparseVectors":
        """Return a range of rows without copying their terms."""
        offsets = self.terms.offsets[start : stop + 1]
        low, high = offsets[0], offsets[-1]
        return SparseVectors(
            Ragged(self.terms.values[low:high], offsets - low), Ragged(self.weights.values[low:high], offsets - low)
        )

    def take(self, rows: Rows) -> "SparseVectors":
        """Return the given rows, in their order."""
        return SparseVectors(self.terms.take(rows), self.weights.take(rows))

    def matrix(self, vocabulary: int) -> csr_array:
        """Return the vectors as a float64 matrix, in which a sum of integer products is exact."""
        values = self.weights.values.astype(np.float64)
        return csr_array(
            (values, self.terms.values.astype(np.int32), self.terms.offsets), shape=(len(self), vocabulary)
        )


Vectors: TypeAlias = SparseVectors | NDArray[np.floating]


def read_vectors(path: Path) -> Vectors:
    """Map a file of dense (.npy) or sparse (.arrow) vectors."""
    return matrix(path) if path.suffix == ".npy" else SparseVectors.read(path)


def check_same_kind(queries: Path, passages: Sequence[Path]) -> None:
    """Check that all files have the same kind of vectors.

    Raises:
        InputError: some are dense (.npy) and some sparse (.arrow).
    """
    for path in passages:
        if path.suffix != queries.suffix:
            raise InputError(
                f"{path}: dense (.npy) and sparse (.arrow) vectors cannot be multiplied, those of the queries are in"
                f" {queries}; encode both with the same stage"
            )


def pair_products(queries: Vectors, passages: Vectors, query_rows: Rows, passage_rows: Rows) -> NDArray[np.float32]:
    """Return the dot product of each pair of a query row and a passage row, in float32.

    Both sides are sparse or both are dense. Pairs of the same query should be adjacent: its vector is then prepared
    only once for all of them.
    """
    scores = np.zeros(len(query_rows), dtype=np.float32)
    if isinstance(queries, SparseVectors):
        assert isinstance(passages, SparseVectors), "check_same_kind"
        vocabulary = max(queries.vocabulary, passages.vocabulary)
        scratch = np.zeros(QUERY_BLOCK * vocabulary, dtype=np.float32)
        for part in _blocks(query_rows, PAIR_BLOCK):
            scores[part] = _sparse_block(queries, passages, query_rows[part], passage_rows[part], scratch, vocabulary)
        return scores
    assert not isinstance(passages, SparseVectors), "check_same_kind"
    for part in _blocks(query_rows, DENSE_BLOCK):
        rows, inverse = np.unique(query_rows[part], return_inverse=True)
        of_queries = np.asarray(queries[rows], dtype=np.float32)[inverse]
        of_passages = np.asarray(passages[passage_rows[part]], dtype=np.float32)
        np.einsum("pd,pd->p", of_queries, of_passages, out=scores[part])
    return scores


def _blocks(query_rows: Rows, pairs: int) -> Iterator[slice]:
    """Cut pairs into slices of at most `pairs` pairs and QUERY_BLOCK queries."""
    changes = np.flatnonzero(np.diff(query_rows)) + 1
    start = 0
    while start < len(query_rows):
        change = np.searchsorted(changes, start, side="right") + QUERY_BLOCK - 1
        stop = int(changes[change]) if change < len(changes) else len(query_rows)
        stop = min(stop, start + pairs)
        yield slice(start, stop)
        start = stop


def _sparse_block(
    queries: SparseVectors,
    passages: SparseVectors,
    query_rows: Rows,
    passage_rows: Rows,
    scratch: NDArray[np.float32],
    vocabulary: int,
) -> NDArray[np.float32]:
    """Score pairs of at most QUERY_BLOCK queries; `scratch` holds zeros before and after."""
    rows, slots = np.unique(query_rows, return_inverse=True)
    dense = queries.take(rows)
    filled = dense.terms.values + np.repeat(np.arange(len(rows)) * vocabulary, dense.terms.lengths)
    scratch[filled] = dense.weights.values
    sparse = passages.take(passage_rows)
    # Every query has its own section of the scratch vector, so one matrix-vector product scores all pairs.
    starts = slots.astype(np.int32) * np.int32(vocabulary)
    columns = sparse.terms.values + np.repeat(starts, sparse.terms.lengths)
    weights = sparse.weights.values.astype(np.float32, copy=False)
    scores = csr_array((weights, columns, sparse.terms.offsets), shape=(len(query_rows), len(scratch))) @ scratch
    scratch[filled] = 0
    return scores


def all_products(
    queries: Vectors, passages: Sequence[Vectors], query_rows: Rows, passage_rows: Rows
) -> NDArray[np.float32]:
    """Return the dot product of every given query row with every given passage row, (queries, passages), in float32.

    Args:
        passages: the vectors of all passages in row order, as several files; all of the same kind as the queries.
    """
    starts = np.cumsum([0, *map(len, passages)])
    unique, inverse = np.unique(passage_rows, return_inverse=True)
    bounds = np.searchsorted(unique, starts)
    rows_of = [unique[low:high] - start for low, high, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True)]
    parts = list(zip(passages, rows_of, strict=True))
    if isinstance(queries, SparseVectors):
        sparse = [file.take(rows) for file, rows in parts if isinstance(file, SparseVectors)]
        assert len(sparse) == len(parts), "check_same_kind"
        left, right = _csr_matrix([queries.take(query_rows)]), _csr_matrix(sparse)
        width = max(left.shape[1], right.shape[1])
        left.resize(left.shape[0], width)
        right.resize(right.shape[0], width)
        return (left @ right.T).toarray()[:, inverse]
    dense = [np.asarray(file[rows], dtype=np.float32) for file, rows in parts if not isinstance(file, SparseVectors)]
    assert len(dense) == len(parts), "check_same_kind"
    products: NDArray[np.float32] = np.asarray(queries[query_rows], dtype=np.float32) @ np.concatenate(dense).T
    return products[:, inverse]


def _csr_matrix(parts: Sequence[SparseVectors]) -> csr_array:
    """Return several sparse vectors, one part below the other, as one matrix."""
    terms = Ragged.joined([part.terms for part in parts], np.int32)
    weights = np.concatenate([part.weights.values for part in parts])
    width = int(terms.values.max(initial=-1)) + 1
    return csr_array((weights, terms.values, terms.offsets), shape=(len(terms), width))
