"""Test whether two systems differ on a measure, by paired tests over the same queries.

`holm` corrects the p-values of several tests, and `bootstrap` gives intervals of means over queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.files.errors import InputError

LEVEL, RESAMPLES, PERMUTATIONS = 0.95, 10_000, 20_000  # of intervals and tests in the report and in `led compare`


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two systems on the same queries; positive differences favour the first."""

    mean_a: float
    mean_b: float
    difference: float
    p_randomisation: float
    p_t: float | None  # None if all differences are equal
    wins: int
    losses: int
    ties: int


def compare(a: PerQuery, b: PerQuery, name: str, seed: int = 42, permutations: int = PERMUTATIONS) -> Comparison:
    """Test whether two systems differ on one measure, over the same queries.

    The p-value of the randomisation test is the share of random exchanges of the two systems, query by query, whose
    mean difference is at least as far from zero as the observed one (two-sided; the observed one counts as well, so
    the p-value is never 0). The paired t-test is reported for reference.

    Raises:
        InputError: the two were not measured on the same queries.
    """
    if a.keys() != b.keys():
        odd = min(a.keys() ^ b.keys())
        raise InputError(f"query {odd} was measured for one of the two systems only; measure both with the same qrels")
    values = np.array([(a[qid][name], b[qid][name]) for qid in a])
    differences = values[:, 0] - values[:, 1]
    constant = bool(np.all(differences == differences[0]))
    return Comparison(
        mean_a=float(values[:, 0].mean()),
        mean_b=float(values[:, 1].mean()),
        difference=float(differences.mean()),
        p_randomisation=_randomisation(differences, seed, permutations),
        p_t=None if constant else float(stats.ttest_rel(values[:, 0], values[:, 1]).pvalue),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
    )


def _randomisation(differences: NDArray[np.float64], seed: int, permutations: int) -> float:
    """Return the two-sided p-value of a sign-flip test; queries without a difference do not affect it."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    generator = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(nonzero))
    reached = 0
    observed = abs(nonzero.sum()) - 1e-9  # sums of the same numbers in another order differ in the last bits
    for start in range(0, permutations, block):
        size = (min(block, permutations - start), len(nonzero))
        signs = generator.integers(0, 2, size=size, dtype=np.int8) * 2 - 1
        reached += int((np.abs(signs @ nonzero) >= observed).sum())
    return (reached + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests, corrected by Holm's step-down method, in the same order.

    The smallest of m values is multiplied by m, the next one by m - 1, and so on; no value is below that of a smaller
    one, or above 1. Rejecting the hypotheses whose corrected value is at most alpha keeps the probability of any false
    rejection at or below alpha, whatever the dependence between the tests.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


# Q = queries, T = tests
def bootstrap(
    values_QT: NDArray[np.float64], seed: int = 42, resamples: int = RESAMPLES, level: float = LEVEL
) -> NDArray[np.float64]:
    """Return a confidence interval (T, 2) of the mean over queries of each column: percentiles of the bootstrap.

    Every resample draws as many queries as there are, with replacement, and is the same for all columns.

    Raises:
        ValueError: there is no query, or the level is not between 0 and 1.
    """
    queries = len(values_QT)
    if not queries or not 0 < level < 1:
        raise ValueError(f"expected queries and a level between 0 and 1, got {queries} queries and level {level}")
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, values_QT.shape[1]))
    block = max(1, 2_000_000 // queries)
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = generator.integers(0, queries, size=(count, queries)) + np.arange(count)[:, None] * queries
        times = np.bincount(drawn.ravel(), minlength=count * queries).reshape(count, queries)
        means[start : start + count] = times.astype(np.float64) @ values_QT / queries
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).T
