"""Measure what an export loses: recall of the exact ranking, MRR@10 where there are judgements, and time per query."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.formats.judgements import load_qrels, strictly_decreasing
from led_pipeline.data.tables import Ragged, Ranking
from led_pipeline.evaluation.evaluate import PassageIds, with_ids
from led_pipeline.evaluation.measures import Evaluator
from led_pipeline.export.source import Source

DEPTH = 100  # passages per query
MEASURE = "MRR@10"
TIMED = 100  # queries that are searched one by one
Search = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]


@cache
def exact_ranking(vectors: tuple[Path, ...], queries: Path, threads: int) -> Ranking:
    """Return the exact ranking of a split by the stored vectors, computed once for all formats; ties by row."""
    from led_pipeline.search.faiss_index import search

    return search(vectors, queries, DEPTH, threads)


def recall(truth: Sequence[NDArray[np.integer]], rows: Sequence[NDArray[np.integer]], k: int) -> float:
    """Return the mean share of the first k rows of the true rankings among the first k of the others."""
    shares = [len(np.intersect1d(a[:k], b[:k])) / len(a[:k]) for a, b in zip(truth, rows, strict=True) if len(a)]
    return float(np.mean(shares)) if shares else 1.0


def to_ranking(rows_QK: NDArray[np.integer], scores_QK: NDArray[np.floating]) -> Ranking:
    """Return the ranking of all queries from FAISS's matrices, which have -1 where there is no further passage."""
    hits = [row >= 0 for row in rows_QK]
    return Ranking(
        np.arange(len(rows_QK), dtype=np.int32),
        Ragged.from_rows([row[hit] for row, hit in zip(rows_QK, hits, strict=True)], np.int32),
        Ragged.from_rows([row[hit] for row, hit in zip(scores_QK, hits, strict=True)], np.float32),
    )


def mean_reciprocal_rank(source: Source, ranking: Ranking, first: int | None = None) -> float | None:
    """Return MRR@10 of a ranking over the queries of the split's qrels; None without qrels.

    Args:
        first: count only the first queries of the split.
    """
    qrels = load_qrels(source.qrels) if source.qrels.is_file() else {}
    qrels = {qid: qrels[qid] for qid in source.query_ids[:first] if qid in qrels}
    if not qrels:
        return None
    same_id = source.recipe.dataset.exclude_query_id
    ids = PassageIds.read(source.passages, np.unique(ranking.passages.values))
    run = {
        qid: dict(zip(pids, map(float, strictly_decreasing(scores)), strict=True))
        for qid, pids, scores in with_ids([ranking], source.query_ids, ids, DEPTH, same_id)
        if qid in qrels
    }
    relevant_from = source.recipe.dataset.splits[source.split].relevant_from
    values = Evaluator(qrels, [MEASURE], relevant_from).values(run)
    return round(float(sum(each[MEASURE] for each in values.values()) / len(qrels)), 4)


def milliseconds(search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    """Return the median time of a query, searched alone, over the first queries."""
    times = []
    for row in range(min(TIMED, len(queries))):
        begin = time.perf_counter()
        search(queries[row : row + 1])
        times.append(time.perf_counter() - begin)
    return round(1000 * float(np.median(times)), 3) if times else 0.0


def losses(source: Source, search: Search, queries: NDArray[np.float32], threads: int) -> dict[str, Any]:
    """Return the recall of the exact top 10 and 100 by a search, and MRR@10 of both; the queries are the split's."""
    truth = exact_ranking(tuple(source.passage_vectors), source.query_vectors, threads)
    scores, rows = search(queries, min(DEPTH, source.passage_count()))
    ranking = to_ranking(rows, scores)
    exact, approximate = ([r.passages[i] for i in range(len(r))] for r in (truth, ranking))
    result: dict[str, Any] = {
        "queries": len(queries),
        "recall_of_exact_top_10": round(recall(exact, approximate, 10), 4),
        "recall_of_exact_top_100": round(recall(exact, approximate, 100), 4),
    }
    measured, reference = mean_reciprocal_rank(source, ranking), mean_reciprocal_rank(source, truth)
    if measured is not None:
        result |= {MEASURE: measured, f"{MEASURE} exact": reference}
    return result
