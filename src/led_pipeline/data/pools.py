"""Pools: what one system ranked best for each training query, without the judged passages.

Run as `python -m led_pipeline.data.pools ranking --ranking R --queries Q --passages P --qrels F --depth 200 --out
POOL`, or with `published --negatives FILE` in place of `ranking --ranking R` for negatives that somebody published.
"""

import argparse
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.formats import load_qrels, read_negatives
from led_pipeline.data.tables import Ragged, Ranking, read_column, read_ranking, write_ranking
from led_pipeline.files import InputError, run_main, write_json

Ranked = tuple[int, NDArray[np.int32], NDArray[np.float32]]  # query row; passage rows, best first; scores


def unjudged(passages: NDArray[np.int32], judged: Collection[int], depth: int) -> NDArray[np.int64]:
    """Return the positions of the first `depth` passages of a ranking (best first) that are not judged."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return np.flatnonzero(~np.isin(passages, list(judged)))[:depth]


def row_numbers(path: Path) -> dict[str, int]:
    """Return the row of every id of a table of passages or queries."""
    return {name: row for row, name in enumerate(read_column(path, "id"))}


def judged_rows(
    qrels: Path, queries: dict[str, int], passages: dict[str, int], from_grade: int = 0
) -> dict[int, set[int]]:
    """Return the rows of the passages judged for each query row with at least some grade."""
    return {
        queries[qid]: {passages[pid] for pid, grade in grades.items() if grade >= from_grade}
        for qid, grades in load_qrels(qrels).items()
        if qid in queries
    }


def published(path: Path, queries: dict[str, int], passages: dict[str, int]) -> Iterator[Ranked]:
    """Yield the passages of a published file, best first, in row order; scores fall by 1, since such files hold none.

    Queries that are not in the dataset are left out (a subset of the queries is common); a passage that is not there
    is an error, since it means that file and collection do not belong together.
    """
    found: dict[int, NDArray[np.int32]] = {}
    for qid, pids in read_negatives(path):
        if qid not in queries:
            continue
        missing = next((pid for pid in pids if pid not in passages), None)
        if missing is not None:
            raise InputError(
                f"{path}: negative passage '{missing}' of query '{qid}' is not in the collection; take the file made"
                " for this collection"
            )
        found[queries[qid]] = np.array([passages[pid] for pid in pids], dtype=np.int32)
    for query in sorted(found):
        yield query, found[query], -np.arange(len(found[query]), dtype=np.float32)


def build_pool(rankings: Iterable[Ranked], judged: dict[int, set[int]], depth: int, out: Path) -> None:
    """Write the pool of one system, query by query, and a manifest beside it; a query without any is left out."""
    queries, kept_passages, kept_scores = [], [], []
    for query, passages, scores in rankings:
        kept = unjudged(passages, judged.get(query, ()), depth)
        if len(kept):
            queries.append(query)
            kept_passages.append(passages[kept])
            kept_scores.append(scores[kept])
    pool = Ranking(
        np.array(queries, dtype=np.int32),
        Ragged.from_rows(kept_passages, np.int32),
        Ragged.from_rows(kept_scores, np.float32),
    )
    write_ranking(out, pool)
    short = int((pool.passages.lengths < depth).sum())
    total = len(pool.passages.values)
    write_json(
        out.with_suffix(".json"),
        {"depth": depth, "queries": len(pool), "queries_with_fewer": short, "passages": total},
    )
    print(f"{len(pool):,} queries with {total:,} negatives, {short:,} of them with fewer than {depth}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the pool of negatives of one system.")
    parser.add_argument("kind", choices=["ranking", "published"])
    parser.add_argument("--ranking", type=Path)
    parser.add_argument("--negatives", type=Path)
    parser.add_argument("--queries", required=True, type=Path)
    parser.add_argument("--passages", required=True, type=Path)
    parser.add_argument("--qrels", required=True, type=Path)
    parser.add_argument("--depth", required=True, type=int)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    queries, passages = row_numbers(a.queries), row_numbers(a.passages)
    rankings = published(a.negatives, queries, passages) if a.kind == "published" else read_ranking(a.ranking)
    build_pool(rankings, judged_rows(a.qrels, queries, passages), a.depth, a.out)


if __name__ == "__main__":
    run_main(main)
