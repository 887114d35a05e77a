"""The order of an epoch's examples: no batch holds a query twice if that can be avoided."""

from collections import Counter

import numpy as np
import pytest

from led_pipeline.data.order import batch_rows, batches_per_epoch, repeats, shuffled


def batches(queries: np.ndarray, size: int) -> list[list[int]]:
    """Return the queries of every batch, as a training takes them."""
    steps = batches_per_epoch(len(queries), min(size, len(queries)))
    return [queries[batch_rows(step, len(queries), size)].tolist() for step in range(steps)]


def twice(queries: np.ndarray, size: int) -> int:
    return sum(max(Counter(batch).values()) > 1 for batch in batches(queries, size))


# Numbers of positives of the queries, and the batch size; an order without a repetition exists for each.
POSSIBLE = {
    "15 of each": ([15] * 200, 64),
    "all queries in every batch": ([7] * 16, 16),
    "some in every batch, the last one short": ([6, 6, 6] + [1] * 25, 8),
    "the last batch is filled up": ([3] * 11 + [1] * 20, 8),
    "one query has all but one": ([4] + [1] * 12, 4),
    "one batch": ([1] * 5, 8),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("counts", POSSIBLE)
def test_no_batch_holds_a_query_twice(counts, seed):
    of_queries, size = POSSIBLE[counts]
    queries = np.repeat(np.arange(len(of_queries)), of_queries)
    order = shuffled(queries, size, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(queries))), "every example once"
    assert twice(queries[order], size) == repeats(queries[order], size) == 0
    again = shuffled(queries, size, np.random.default_rng(seed))
    assert order.tolist() == again.tolist(), "the seed decides"


def test_a_plain_shuffle_would_repeat_queries_and_the_repeats_are_counted():
    queries = np.repeat(np.arange(200), 15)[np.random.default_rng(0).permutation(3_000)]
    assert repeats(queries, 64) == twice(queries, 64) == 47


@pytest.mark.parametrize(("counts", "size", "least"), [([9] + [1] * 7, 4, 4), ([5], 4, 2), ([3, 1], 64, 1)])
def test_a_query_with_more_examples_than_batches_repeats_in_some_batches(counts, size, least):
    queries = np.repeat(np.arange(len(counts)), counts)
    order = shuffled(queries, size, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(len(queries)))
    assert least == repeats(queries[order], size) == twice(queries[order], size)


def test_queries_with_one_example_each_are_shuffled():
    order = shuffled(np.arange(50), 8, np.random.default_rng(3))
    assert order.tolist() == np.random.default_rng(3).permutation(50).tolist()


def test_every_example_comes_to_every_place_of_an_epoch():
    """Two queries' examples share a batch as often as in a plain shuffle."""
    queries, random = np.repeat(np.arange(12), 2), np.random.default_rng(4)
    first, together = Counter(), 0
    for _ in range(3_000):
        order = shuffled(queries, 4, random)
        first.update([int(order[0])])
        batch = order.reshape(-1, 4)[np.flatnonzero(order == 0)[0] // 4]
        together += 2 in batch
    assert min(first.values()) > 70 and max(first.values()) < 190  # 125 of each expected
    assert together / 3_000 == pytest.approx(3 / 22, abs=0.03)  # three places for 22 examples of other queries


@pytest.mark.parametrize(("examples", "batch_size"), [(5, 64), (3, 8), (1, 4)])
def test_a_batch_larger_than_an_epoch_is_the_epoch(examples, batch_size):
    rows = [batch_rows(step, examples, batch_size).tolist() for step in range(2)]
    assert rows == [list(range(examples)), list(range(examples, 2 * examples))]
