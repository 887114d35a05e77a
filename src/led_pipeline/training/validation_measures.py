"""Measure a validation: values of each query, from the scores of its candidates and the grades of its judged passages.

`evaluation.measures` computes the values. Of tied candidates the first one ranks higher. Grades from 1 up are relevant.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from led_pipeline.evaluation.measures import Evaluator

Scored = tuple[NDArray[np.integer], NDArray[np.floating]]  # passage rows of the candidates, and their scores


def values(
    measures: Sequence[str], candidates: Sequence[Scored], grades: Sequence[Mapping[int, int]]
) -> list[dict[str, float]]:
    """Return measures such as MRR@10, nDCG@10 or MAP of each query, by their names.

    Args:
        grades: for each query, the grades of all its judged passages by row, whether they are candidates or not.
    """
    qrels = {str(i): {str(row): grade for row, grade in of_row.items()} for i, of_row in enumerate(grades)}
    run = {str(i): _ranked(rows, scores) for i, (rows, scores) in enumerate(candidates)}
    measured = Evaluator(qrels, measures).values(run)
    return [measured.get(str(i), dict.fromkeys(measures, 0.0)) for i in range(len(candidates))]


def _ranked(rows: NDArray, scores: NDArray) -> dict[str, float]:
    """Return candidates with strictly falling scores, since trec_eval sorts ties by id."""
    order = np.argsort(-scores, kind="stable")
    return {str(row): float(len(order) - rank) for rank, row in enumerate(rows[order].tolist())}
