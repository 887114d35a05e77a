"""Dot products of stored vectors, computed exactly: whole searches of sparse vectors, and the scores of given pairs.

The search is the oracle of the engines and one of its own for small collections. The scores of pairs are what a
teacher thinks of a trainset's passages: run as `python -m led_pipeline.search.exact pair-scores --pairs TRAINSET
--query-vectors Q --passage-vectors SHARD... --shard I --shards N --out SCORES.npy`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import Ragged, Ranking, read_arrow, shard_range, write_matrix
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.search.top_k import NONE, best, pack, to_ranking

QUERY_BLOCK = 128  # queries that are scored at once
PAIR_BLOCK = 16_384  # sparse pairs that are scored at once
DENSE_BLOCK = 1_024  # dense pairs that are scored at once, few enough to stay in a processor's cache
PASSAGE_BLOCK = 65_536


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
        if {"terms", "weights"} - columns.keys():
            raise InputError(f"{path}: not a file of sparse vectors, its columns are {', '.join(columns)}")
        return cls(columns["terms"], columns["weights"])

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

    def take(self, rows: NDArray[np.integer]) -> "SparseVectors":
        """Return the given rows, in their order."""
        return SparseVectors(self.terms.take(rows), self.weights.take(rows))

    def matrix(self, vocabulary: int) -> csr_array:
        """Return the vectors as a float64 matrix, in which a sum of integer products is exact."""
        values = self.weights.values.astype(np.float64)
        return csr_array(
            (values, self.terms.values.astype(np.int32), self.terms.offsets), shape=(len(self), vocabulary)
        )


Vectors = SparseVectors | NDArray[np.floating]


def exact_sparse(queries: SparseVectors, passages: SparseVectors, k: int) -> Ranking:
    """Rank, for every query, the best k of the passages that share a term with it; ties by passage row.

    Memory is bounded by a block of passages and its scores for a block of queries, and by the result.
    """
    keys_QK = np.full((len(queries), k), NONE)
    vocabulary = max(queries.vocabulary, passages.vocabulary)
    query_matrix = queries.matrix(vocabulary)
    for first in range(0, len(passages), PASSAGE_BLOCK):
        block = passages.rows(first, min(first + PASSAGE_BLOCK, len(passages))).matrix(vocabulary).T.tocsr()
        for start in range(0, len(queries), QUERY_BLOCK):
            scores = query_matrix[start : start + QUERY_BLOCK] @ block
            keys = pack(scores.data, scores.indices + first)
            for i, (low, high) in enumerate(zip(scores.indptr[:-1], scores.indptr[1:], strict=True), start):
                keys_QK[i] = best(np.concatenate([keys_QK[i], keys[low:high]]), k)
    return to_ranking(keys_QK)


def dot_products(
    queries: Vectors, passages: Vectors, query_rows: NDArray[np.integer], passage_rows: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Return the dot product of each pair of a query row and a passage row, in float32.

    Both sides are `SparseVectors`, or both are matrices. Pairs of one query should stand together: a query's vector
    is then prepared once for all of them.
    """
    scores = np.zeros(len(query_rows), dtype=np.float32)
    if isinstance(queries, SparseVectors):
        vocabulary = max(queries.vocabulary, passages.vocabulary)
        scratch = np.zeros(QUERY_BLOCK * vocabulary, dtype=np.float32)
        for part in _blocks(query_rows, PAIR_BLOCK):
            scores[part] = _sparse_block(queries, passages, query_rows[part], passage_rows[part], scratch, vocabulary)
    else:
        for part in _blocks(query_rows, DENSE_BLOCK):
            rows, inverse = np.unique(query_rows[part], return_inverse=True)
            of_queries = np.asarray(queries[rows], dtype=np.float32)[inverse]
            of_passages = np.asarray(passages[passage_rows[part]], dtype=np.float32)
            np.einsum("pd,pd->p", of_queries, of_passages, out=scores[part])
    return scores


def _blocks(query_rows: NDArray[np.integer], pairs: int) -> Iterator[slice]:
    """Cut pairs into slices of at most so many pairs and QUERY_BLOCK queries."""
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
    query_rows: NDArray[np.integer],
    passage_rows: NDArray[np.integer],
    scratch: NDArray[np.float32],
    vocabulary: int,
) -> NDArray[np.float32]:
    """Score pairs of at most QUERY_BLOCK queries; `scratch` holds zeros before and after."""
    rows, slots = np.unique(query_rows, return_inverse=True)
    dense = queries.take(rows)
    filled = dense.terms.values + np.repeat(np.arange(len(rows)) * vocabulary, dense.terms.lengths)
    scratch[filled] = dense.weights.values
    taken = passages.take(passage_rows)
    # Every query has its own stretch of the scratch vector, so one matrix-vector product scores all pairs.
    starts = slots.astype(np.int32) * np.int32(vocabulary)
    columns = taken.terms.values + np.repeat(starts, taken.terms.lengths)
    weights = taken.weights.values.astype(np.float32, copy=False)
    matrix = csr_array((weights, columns, taken.terms.offsets), shape=(len(query_rows), len(scratch)))
    scores = matrix @ scratch
    scratch[filled] = 0
    return scores


def read_vectors(path: Path) -> Vectors:
    """Map a file of dense (.npy) or sparse (.arrow) vectors."""
    return matrix(path) if path.suffix == ".npy" else SparseVectors.read(path)


def pair_scores(pairs: Path, queries: Path, passages: Sequence[Path], shard: int, shards: int, out: Path) -> None:
    """Write the scores of one shard of a trainset's rows as a flat float32 vector, in the order of their passages.

    Args:
        passages: the files that together hold the vectors of all passages, in row order.

    Raises:
        InputError: vectors are of two kinds, or a row of the trainset has no vector.
    """
    columns, _ = read_arrow(pairs)
    start, stop = shard_range(len(columns["query"]), shard, shards)
    offsets = columns["passages"].offsets[start : stop + 1]
    passage_rows = columns["passages"].values[offsets[0] : offsets[-1]]
    query_rows = np.repeat(columns["query"][start:stop], np.diff(offsets))
    query_vectors = read_vectors(queries)
    _check_rows(query_rows, len(query_vectors), pairs, "query", queries)
    scores = np.zeros(len(passage_rows), dtype=np.float32)
    first = 0
    for path in passages:
        vectors = read_vectors(path)
        if isinstance(vectors, SparseVectors) != isinstance(query_vectors, SparseVectors):
            raise InputError(f"{path}: one of these vectors and those in {queries} are sparse, the others dense")
        here = np.flatnonzero((passage_rows >= first) & (passage_rows < first + len(vectors)))
        scores[here] = dot_products(query_vectors, vectors, query_rows[here], passage_rows[here] - first)
        first += len(vectors)
    _check_rows(passage_rows, first, pairs, "passage", passages[-1])
    write_matrix(out, scores)


def _check_rows(rows: NDArray[np.integer], vectors: int, pairs: Path, kind: str, path: Path) -> None:
    if len(rows) and not 0 <= rows.min() <= rows.max() < vectors:
        raise InputError(
            f"{pairs}: it names {kind} row {rows.max()}, but the vectors up to the end of {path} are {vectors};"
            " make the vectors and the trainset from the same prepared data"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pair-scores", help="score one shard of a trainset's rows")
    command.add_argument("--pairs", type=Path, required=True)
    command.add_argument("--query-vectors", type=Path, required=True)
    command.add_argument("--passage-vectors", type=Path, nargs="+", required=True)
    command.add_argument("--shard", type=int, required=True)
    command.add_argument("--shards", type=int, required=True)
    command.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    pair_scores(args.pairs, args.query_vectors, args.passage_vectors, args.shard, args.shards, args.out)


if __name__ == "__main__":
    run_main(main)
