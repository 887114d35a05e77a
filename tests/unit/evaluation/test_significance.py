"""Corrections of several tests, and confidence intervals of means, against other computations."""

import numpy as np
import pytest
from scipy import stats

from led_pipeline.evaluation.significance import bootstrap, holm


def holm_by_hand(p_values: list[float]) -> list[float]:
    """Correct each value by itself: the largest of (number of values from here on) * value, over the smaller ones."""
    ordered = sorted(p_values)
    return [
        min(1.0, max((len(ordered) - i) * ordered[i] for i in range(len(ordered)) if ordered[i] <= p)) for p in p_values
    ]


@pytest.mark.parametrize("seed", range(20))
def test_holm_equals_the_definition(seed):
    random = np.random.default_rng(seed)
    values = np.round(random.random(int(random.integers(1, 9))) ** 3, 2).tolist()  # with ties
    assert holm(values) == pytest.approx(holm_by_hand(values))


def test_holm_on_values_worked_out_by_hand():
    # Ordered: 0.01 x 4, 0.02 x 3 = 0.06, 0.03 x 2 = 0.06, 0.04 x 1, which may not fall below 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]) == []


def test_the_bootstrap_agrees_with_scipy_and_uses_the_same_queries_for_all_columns():
    random = np.random.default_rng(3)
    first = random.exponential(0.2, 300)
    values = np.stack([first, first + 1, random.choice([-0.5, 0.0, 0.5], 300)], axis=1)
    ours = bootstrap(values, seed=1, resamples=10_000)
    for column, interval in zip(values.T, ours, strict=True):
        reference = stats.bootstrap(
            (column,), np.mean, method="percentile", n_resamples=10_000, rng=5
        ).confidence_interval
        # Two estimates of one percentile; a percentile of 10,000 draws varies by about 2 % of the interval.
        np.testing.assert_allclose(interval, reference, atol=0.06 * (reference.high - reference.low))
    np.testing.assert_allclose(ours[1], ours[0] + 1)


def test_the_bootstrap_repeats_with_its_seed_and_narrows_with_its_level():
    values = np.random.default_rng(0).normal(size=(50, 1))
    np.testing.assert_array_equal(bootstrap(values, seed=7), bootstrap(values, seed=7))
    (low, high), (lower, higher) = bootstrap(values, level=0.5)[0], bootstrap(values, level=0.99)[0]
    assert lower < low < values.mean() < high < higher
    np.testing.assert_array_equal(bootstrap(np.full((4, 1), 0.25))[0], [0.25, 0.25])
    with pytest.raises(ValueError, match="queries"):
        bootstrap(np.empty((0, 1)))


def test_the_bootstrap_covers_the_true_mean_as_often_as_its_level_says():
    random = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        low, high = bootstrap(random.normal(0.3, 1, size=(80, 1)), seed=seed, resamples=500, level=0.9)[0]
        covered += low <= 0.3 <= high
    assert 0.83 <= covered / 200 <= 0.96
