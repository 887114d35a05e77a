"""Compute retrieval measures per query with trec_eval, through pytrec_eval.

The names of measures and their names in trec_eval are in `recipe.measures`: a kind that is added there can be used here
and in recipes.

- A mean is over all queries of the qrels. A query without results counts 0, and so does, for binary measures, a query
  whose judged passages are all below the grade `relevant_from` (trec_eval keeps it in the mean as well). Results of
  queries that the qrels do not have are dropped and counted.
- A measure without a cut-off is over the whole ranking, as deep as the run is.
- Binary measures count grades from `relevant_from` up as relevant; nDCG takes the grades themselves as gains.
- Passages are sorted by score as a 32-bit float, highest first, and ties by passage id, highest first, whatever the
  order of the lines.
- recall@k is the share of a query's relevant passages among the first k, hit@k whether there is any (success). Papers
  call both of them recall; they differ as soon as queries have several relevant passages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytrec_eval

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits
from led_pipeline.recipe.measures import MEASURES, cut_off, trec_name

Result = tuple[str, Sequence[str], Sequence[float]]  # query id; passage ids and their scores
PerQuery = dict[str, dict[str, float]]  # query id -> measure -> value


class Evaluator:
    """Computes measures against qrels (query id -> passage id -> grade)."""

    def __init__(
        self, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str] = MEASURES, relevant_from: int = 1
    ) -> None:
        self._trec_names = {name: trec_name(name) for name in measures}
        self._evaluator = pytrec_eval.RelevanceEvaluator(
            qrels, set(self._trec_names.values()), relevance_level=relevant_from
        )

    def values(self, run: Mapping[str, Mapping[str, float]]) -> PerQuery:
        """Return the values of those queries of a run (query id -> passage id -> score) that the qrels judge."""
        measured = self._evaluator.evaluate(run)
        return {
            qid: {name: _cut(name, values[trec]) for name, trec in self._trec_names.items()}
            for qid, values in measured.items()
        }


def _cut(measure: str, value: float) -> float:
    """Cut a reciprocal rank at the measure's cut-off; trec_eval has cut the other measures itself.

    The first relevant passage is at rank k or better exactly if the reciprocal rank is at least 1/k, so this equals
    truncating the ranking at k, and trec_eval decides the order of ties.
    """
    cut = cut_off(measure)
    return value if cut is None or not measure.startswith("MRR@") or value >= 1 / cut else 0.0


@dataclass(frozen=True)
class Measured:
    """The measures of every query of the qrels, in the order of the qrels, and counts of special cases."""

    per_query: PerQuery
    without_results: int
    without_relevant: int  # queries without a passage at or above the grade that counts as relevant
    unjudged_dropped: int  # queries of the run that the qrels do not have
    names: Sequence[str] = MEASURES

    def means(self) -> dict[str, float]:
        """Return the mean of each measure over all queries."""
        return {m: float(np.mean([values[m] for values in self.per_query.values()])) for m in self.names}


def measure(
    run: Iterable[Result],
    qrels: dict[str, dict[str, int]],
    relevant_from: int = 1,
    measures: Sequence[str] = MEASURES,
) -> Measured:
    """Measure a run, which holds each query and each passage of a query once, against qrels.

    Raises:
        InputError: the qrels are empty, or the grade is below 1, which trec_eval never counts as relevant.
    """
    if not qrels:
        raise InputError("the qrels have no query, expected at least one to measure against")
    if not 1 <= relevant_from <= limits().grade:
        raise InputError(f"--relevant-from: expected a grade from 1 to {limits().grade:,}, got {relevant_from}")
    evaluator = Evaluator(qrels, measures, relevant_from)
    measured: PerQuery = {}
    unjudged = 0
    for qid, pids, scores in run:
        if qid in qrels:
            measured |= evaluator.values({qid: dict(zip(pids, scores, strict=True))})
        else:
            unjudged += 1
    return Measured(
        {qid: measured.get(qid) or dict.fromkeys(measures, 0.0) for qid in qrels},
        without_results=len(qrels) - len(measured),
        without_relevant=sum(max(grades.values(), default=0) < relevant_from for grades in qrels.values()),
        unjudged_dropped=unjudged,
        names=measures,
    )
