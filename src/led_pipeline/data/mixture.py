"""Mixture: an epoch of a training on several sets of queries, in which every batch has queries of one set.

The number of batches of a set is proportional to its examples to the power 1 / temperature: with 1 every example comes
once in an epoch, with a large temperature all sets have as many batches. A set that has more batches than it fills is
passed several times in an epoch; one with fewer goes on in the next epoch where it stopped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.order import batches_per_epoch, shuffled
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.step_settings import TrainsetSettings


def batches_of_sets(examples: Sequence[int], batch_size: int, temperature: float) -> list[int]:
    """Return the number of batches of each set in an epoch; their sum is that of the batches which all sets fill.

    Each set has at least one batch. Fractions are rounded by their largest remainders.

    Args:
        examples: of each set, at least 1.
    """
    fill = [batches_per_epoch(count, batch_size) for count in examples]
    if temperature == 1:
        return fill
    shares = np.power(np.array(examples, dtype=np.float64), 1 / temperature)
    exact = sum(fill) * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: sum(fill) - counts.sum()]] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[[empty, counts.argmax()]] += [1, -1]
    return counts.tolist()


class Shuffle:
    """Draws the order of the examples of one epoch after the other: each epoch has all of them once."""

    def __init__(self, queries: NDArray[np.integer], batch_size: int, random: np.random.Generator):
        self.queries, self.batch_size, self.random = queries, batch_size, random

    @property
    def examples(self) -> int:
        return len(self.queries)

    def epoch(self) -> NDArray[np.int64]:
        """Return the examples of the next epoch in their order."""
        return shuffled(self.queries, self.batch_size, self.random)


class Mixture:
    """Draws the order of the examples of one epoch after the other, in batches of one set each.

    Args:
        queries: the query of every example of a pass.
        sets: the set of every example, from 0; each set has an example.
        batch_size: examples of a batch; a smaller set fills it several times.
    """

    def __init__(
        self,
        queries: NDArray[np.integer],
        sets: NDArray[np.integer],
        batch_size: int,
        temperature: float,
        random: np.random.Generator,
    ):
        self._queries, self._size, self.random = queries, batch_size, random
        self._examples = [np.flatnonzero(sets == number) for number in range(int(sets.max()) + 1)]
        self.batches = batches_of_sets([len(of_set) for of_set in self._examples], batch_size, temperature)
        self._waiting: list[list[NDArray[np.int64]]] = [[] for _ in self._examples]

    @property
    def examples(self) -> int:
        """The examples of an epoch: whole batches."""
        return sum(self.batches) * self._size

    def epoch(self) -> NDArray[np.int64]:
        """Return the examples of the next epoch in their order, batch after batch."""
        batches = [self._next(number) for number, count in enumerate(self.batches) for _ in range(count)]
        return np.concatenate([batches[place] for place in self.random.permutation(len(batches))])

    def _next(self, number: int) -> NDArray[np.int64]:
        """Return the next batch of a set; after the last one of a pass, the first one of a new pass."""
        if not self._waiting[number]:
            examples = self._examples[number]
            order = examples[shuffled(self._queries[examples], self._size, self.random)]
            places = np.arange(batches_per_epoch(len(order), self._size) * self._size) % len(order)
            self._waiting[number] = [*order[places].reshape(-1, self._size)]
        return self._waiting[number].pop(0)


def order_of(
    queries: NDArray[np.integer], settings: TrainsetSettings, sets: Mapping[str, int] | None
) -> Shuffle | Mixture:
    """Return what orders the examples of every epoch.

    Args:
        queries: the query row of every example of an epoch.
        sets: the number of queries of each set, in the order of their rows, for `split_temperature`.

    Raises:
        InputError: a set has no example, or there are no sets to take batches from.
    """
    random = np.random.default_rng(settings.seed)
    if settings.split_temperature is None:
        return Shuffle(queries, min(settings.batch_size, len(queries)), random)
    if not sets:
        raise InputError("--sets: the key split_temperature in --settings needs the note of joined splits; give both")
    set_of = np.searchsorted(np.cumsum([*sets.values()]), queries, side="right")
    for number, name in enumerate(sets):
        if not (count := int((set_of == number).sum())):
            raise InputError(f"dataset.splits.train.union_of: no query of {name} has negatives; leave this split out")
        if count < settings.batch_size:
            print(f"batch_size: {settings.batch_size} is more than the {count} examples of {name}, which it repeats")
    return Mixture(queries, set_of, settings.batch_size, settings.split_temperature, random)
