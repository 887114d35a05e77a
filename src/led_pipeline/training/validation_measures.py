"""Measures of a validation: one value per query, from the scores of its candidates and the grades of what is judged.

Measures other than the reciprocal rank are trec_eval's, through pytrec_eval. Among ties the candidate that was listed
earlier wins. A grade from 1 up is relevant.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytrec_eval
from numpy.typing import NDArray

TREC_NAMES = {"nDCG": "ndcg_cut", "MAP": "map_cut", "P": "P", "recall": "recall", "hit": "success"}

Judged = tuple[NDArray[np.integer], NDArray[np.floating]]  # passage rows of the candidates, and their scores


def reciprocal_rank(scores: NDArray, relevant: NDArray[np.bool_], cut: int = 10) -> float:
    """Return 1 / rank of the best relevant candidate within the first `cut`, else 0; among ties the earlier wins."""
    order = np.argsort(-scores, kind="stable")[:cut]
    hits = np.flatnonzero(relevant[order])
    return 1.0 / (hits[0] + 1) if len(hits) else 0.0


def values(measure: str, candidates: Sequence[Judged], grades: Sequence[Mapping[int, int]]) -> list[float]:
    """Return a measure such as MRR@10, nDCG@10 or recall@100 of each query.

    Args:
        grades: of all judged passages of each query, by row, those included that are no candidates.
    """
    name, _, cut = measure.partition("@")
    if name == "MRR":
        relevant = [[row for row, grade in judged.items() if grade >= 1] for judged in grades]
        pairs = zip(candidates, relevant, strict=True)
        return [reciprocal_rank(scores, np.isin(rows, found), int(cut)) for (rows, scores), found in pairs]
    trec = TREC_NAMES[name]
    qrels = {str(i): {str(row): grade for row, grade in judged.items()} for i, judged in enumerate(grades)}
    run = {str(i): _ranked(rows, scores) for i, (rows, scores) in enumerate(candidates)}
    measured = pytrec_eval.RelevanceEvaluator(qrels, {f"{trec}.{cut}"}).evaluate(run)
    return [measured.get(str(i), {}).get(f"{trec}_{cut}", 0.0) for i in range(len(candidates))]


def _ranked(rows: NDArray, scores: NDArray) -> dict[str, float]:
    """Return candidates with scores that fall strictly, since trec_eval orders ties by id."""
    order = np.argsort(-scores, kind="stable")
    return {str(row): float(len(order) - rank) for rank, row in enumerate(rows[order].tolist())}
