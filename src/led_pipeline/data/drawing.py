"""Rules by which the examples of an epoch are drawn; pure functions of numbers, a seed or random numbers."""

import numpy as np
from numpy.typing import NDArray

from led_pipeline.recipe.settings import Sampling


def draw(candidates: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw the positions of `count` negatives among one query's candidates, by LED's rules.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to draw from")
    if candidates > count:
        return random.choice(candidates, size=count, replace=False, shuffle=False)
    return np.resize(np.arange(candidates), count)


def window(candidates: int, count: int, epoch: int, seed: int, query: int) -> NDArray[np.int64]:
    """Draw the positions of `count` negatives by OpenMatch's rule: one shuffle per query, a window that moves by epoch.

    The window wraps around, also if there are fewer candidates than `count` (OpenMatch draws with replacement then).
    """
    if not candidates:
        raise ValueError("no candidate to draw from")
    order = np.random.default_rng([seed, query]).permutation(candidates)
    return order[(epoch * count + np.arange(count)) % candidates]


def one_each(pairs: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
    """Return one random pair of each query; `pairs` is sorted by query."""
    _, first, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    return pairs[first + random.integers(0, counts)]


def depths(epochs: int, sampling: Sampling) -> list[int]:
    """Return how many passages of each pool every epoch draws from: from the first depth to the last in equal steps."""
    first, last = sampling.negatives_depth, sampling.negatives_depth_end or sampling.negatives_depth
    return [round(first + (last - first) * epoch / max(1, epochs - 1)) for epoch in range(epochs)]
