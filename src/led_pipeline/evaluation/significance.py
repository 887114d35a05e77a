"""Test whether two systems differ on a measure, by paired tests over the same queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.files.errors import InputError


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


def compare(a: PerQuery, b: PerQuery, name: str, seed: int = 42, permutations: int = 20_000) -> Comparison:
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
