"""Search sparse vectors exhaustively, and score the pairs of a trainset, by exact dot products of stored vectors.

The tests compare the engines with the exhaustive search. The scores of a trainset's pairs are those of a teacher: run
as `python -m led_pipeline.search.exact pair-scores --pairs TRAINSET --query-vectors Q --passage-vectors SHARD...
--shard I --shards N --out SCORES.npy`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from led_pipeline.data.examples import Trainset
from led_pipeline.data.tables import Ranking, write_matrix
from led_pipeline.data.vectors import Rows, SparseVectors, check_same_kind, pair_products, read_vectors
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.search.top_k import NONE, best, pack, to_ranking

QUERY_BLOCK = 128  # queries that are scored at once
PASSAGE_BLOCK = 65_536


def exact_sparse(queries: SparseVectors, passages: SparseVectors, k: int) -> Ranking:
    """Rank the best k passages for every query among those that share a term with it; ties by passage row.

    Memory is bounded by a block of passages, its scores for a block of queries, and the result.
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


def pair_scores(pairs: Path, queries: Path, passages: Sequence[Path], shard: int, shards: int, out: Path) -> None:
    """Write the scores of one shard of a trainset's rows as a flat float32 vector, in the order of their passages.

    Args:
        passages: the files with the vectors of all passages, in row order.

    Raises:
        InputError: dense and sparse vectors are mixed, or a row of the trainset has no vector.
    """
    check_same_kind(queries, passages)
    query_rows, passage_rows = Trainset.read(pairs).pairs(shard, shards)
    query_vectors = read_vectors(queries)
    _check_rows(query_rows, len(query_vectors), pairs, "query", queries)
    scores = np.zeros(len(passage_rows), dtype=np.float32)
    first = 0
    for path in passages:
        vectors = read_vectors(path)
        in_file = np.flatnonzero((passage_rows >= first) & (passage_rows < first + len(vectors)))
        scores[in_file] = pair_products(query_vectors, vectors, query_rows[in_file], passage_rows[in_file] - first)
        first += len(vectors)
    _check_rows(passage_rows, first, pairs, "passage", passages[-1])
    write_matrix(out, scores)


def _check_rows(rows: Rows, vectors: int, pairs: Path, kind: str, path: Path) -> None:
    if len(rows) and not 0 <= rows.min() <= rows.max() < vectors:
        raise InputError(
            f"{pairs}: it names {kind} row {rows.max()}, but up to the end of {path} there are {vectors} vectors;"
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
