"""Order: in which batches of an epoch its examples come; no batch holds a query twice where that is possible."""

import numpy as np
from numpy.typing import NDArray

from led_pipeline.recipe.settings import Schedule


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the optimizer steps of one epoch; the last batch is filled up from the epoch's start."""
    return -(-examples // batch_size)


def total_steps(examples: int, schedule: Schedule) -> int:
    """Return the optimizer steps of a whole training."""
    steps = schedule.epochs * steps_per_epoch(examples, schedule.batch_size)
    return min(steps, schedule.max_steps or steps)


def batch_rows(step: int, examples: int, batch_size: int) -> NDArray[np.int64]:
    """Return the trainset rows of one optimizer step (from 0): `batch_size` of one epoch, or all if it has fewer."""
    size = min(batch_size, examples)
    epoch, position = divmod(step, steps_per_epoch(examples, size))
    return epoch * examples + np.arange(position * size, (position + 1) * size) % examples


def shuffled(queries: NDArray[np.integer], batch_size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return a random order of an epoch's examples in whose batches no query comes twice, if there is one.

    Args:
        queries: the query of every example.
        batch_size: examples of a batch; the last one is filled up from the order's start.

    The queries are shuffled, and their examples, each query's together, are dealt to the batches like cards, so that a
    query with fewer examples than there are batches has each in another one. Then the batches are shuffled. Of a query
    with more examples than batches some batches hold several (`repeats` counts them).
    """
    order = random.permutation(len(queries))
    _, of, counts = np.unique(queries, return_inverse=True, return_counts=True)
    if counts.max(initial=1) == 1:
        return order
    size = min(batch_size, len(queries))
    batches = steps_per_epoch(len(queries), size)
    last = len(queries) - (batches - 1) * size
    rank = random.permutation(len(counts))
    if counts.max() >= batches:  # the tightest first, while the last batch, which may be short, has room
        rank = np.argsort(np.lexsort((rank, -counts)))
    order = order[np.argsort(rank[of[order]], kind="stable")]
    card = np.arange(len(order))
    dealt = np.where(card < last * batches, card % batches, (card - last * batches) % max(batches - 1, 1))
    place = np.append(random.permutation(batches - 1), batches - 1)
    order = order[np.argsort(place[dealt], kind="stable")]
    return _with_free_start(order, queries, size, last)


def _with_free_start(order: NDArray[np.int64], queries: NDArray[np.integer], size: int, last: int) -> NDArray[np.int64]:
    """Put those examples of the first batch first whose queries the last batch, which they fill up, has not.

    There are enough: the last batch has `last` queries, and `size - last` are missing in it.
    """
    first = order[: size if last < size < len(order) else 0]
    again = np.isin(queries[first], queries[order[len(order) - last :]])
    return np.concatenate([first[np.argsort(again, kind="stable")], order[len(first) :]])


def repeats(queries: NDArray[np.integer], batch_size: int) -> int:
    """Return how many batches of an epoch, whose examples have these queries in order, hold a query twice."""
    size = min(batch_size, len(queries))
    rows = np.arange(steps_per_epoch(len(queries), size) * size) % len(queries)
    batches = np.sort(queries[rows].reshape(-1, size), axis=1)
    return int((np.diff(batches, axis=1) == 0).any(axis=1).sum())
