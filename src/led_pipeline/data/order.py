"""Order the examples of an epoch into batches in which, where possible, no query occurs twice."""

import numpy as np
from numpy.typing import NDArray

from led_pipeline.recipe.settings import Schedule


def batches_per_epoch(examples: int, batch_size: int) -> int:
    """Return the number of batches of one epoch; examples from its start fill up the last one."""
    return -(-examples // batch_size)


def total_batches(examples: int, schedule: Schedule) -> int:
    """Return the number of batches of a training."""
    batches = schedule.epochs * batches_per_epoch(examples, schedule.batch_size)
    return min(batches, (schedule.max_steps or batches) * schedule.gradient_accumulation)


def total_steps(examples: int, schedule: Schedule) -> int:
    """Return the number of optimizer steps of a training; the last one takes the batches that remain."""
    return -(-total_batches(examples, schedule) // schedule.gradient_accumulation)


def batch_rows(batch: int, examples: int, batch_size: int) -> NDArray[np.int64]:
    """Return the trainset rows of one batch, counted from 0: `batch_size` rows, or a whole smaller epoch."""
    size = min(batch_size, examples)
    epoch, position = divmod(batch, batches_per_epoch(examples, size))
    return epoch * examples + np.arange(position * size, (position + 1) * size) % examples


def shuffled(queries: NDArray[np.integer], batch_size: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return a random order of an epoch's examples whose batches hold no query twice, if such an order exists.

    Args:
        queries: the query of every example.
        batch_size: examples per batch; examples from the start of the order fill up the last batch.

    The queries are shuffled, and their examples, grouped by query, are dealt to the batches like cards: a query with
    fewer examples than there are batches has each of them in a different batch. Then the batches are shuffled. If a
    query has more examples than there are batches, some batches hold it twice (`repeats` counts them).
    """
    order = random.permutation(len(queries))
    _, query_of, counts = np.unique(queries, return_inverse=True, return_counts=True)
    if counts.max(initial=1) == 1:
        return order
    size = min(batch_size, len(queries))
    batches = batches_per_epoch(len(queries), size)
    last = len(queries) - (batches - 1) * size
    rank = random.permutation(len(counts))
    if counts.max() >= batches:  # queries with most examples first, while the last batch, which may be short, has room
        rank = np.argsort(np.lexsort((rank, -counts)))
    order = order[np.argsort(rank[query_of[order]], kind="stable")]
    card = np.arange(len(order))
    batch_of = np.where(card < last * batches, card % batches, (card - last * batches) % max(batches - 1, 1))
    place = np.append(random.permutation(batches - 1), batches - 1)
    order = order[np.argsort(place[batch_of], kind="stable")]
    return _with_free_start(order, queries, size, last)


def _with_free_start(order: NDArray[np.int64], queries: NDArray[np.integer], size: int, last: int) -> NDArray[np.int64]:
    """Sort the first batch so that the examples that fill up the last batch have queries that it lacks.

    There are enough of them: the last batch has `last` queries and needs `size - last` more.
    """
    first = order[: size if last < size < len(order) else 0]
    in_last = np.isin(queries[first], queries[order[len(order) - last :]])
    return np.concatenate([first[np.argsort(in_last, kind="stable")], order[len(first) :]])


def repeats(queries: NDArray[np.integer], batch_size: int) -> int:
    """Return how many batches of an epoch hold a query twice; `queries` are those of its examples, in order."""
    size = min(batch_size, len(queries))
    rows = np.arange(batches_per_epoch(len(queries), size) * size) % len(queries)
    batches = np.sort(queries[rows].reshape(-1, size), axis=1)
    return int((np.diff(batches, axis=1) == 0).any(axis=1).sum())
