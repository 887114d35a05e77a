"""Batches of one set of queries each: their numbers by hand, and what comes into them epoch by epoch."""

from collections import Counter

import numpy as np
import pytest
from test_trainset import SETTINGS, candidates

from led_pipeline.data.mixture import Mixture, batches_of_sets
from led_pipeline.data.order import batch_rows
from led_pipeline.data.tables import read_arrow
from led_pipeline.data.trainset import draw_trainset
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.step_settings import TrainsetSettings


@pytest.mark.parametrize(
    ("examples", "temperature", "batches"),
    [
        ([400, 100], 1, [40, 10]),
        ([401, 95], 1, [41, 10]),
        ([400, 100], 2, [33, 17]),  # 50 batches by 20 : 10
        ([400, 100], 1e6, [25, 25]),
        ([640, 160, 10], 2, [50, 25, 6]),  # 81 batches by 25.298 : 12.649 : 3.162 are 49.85, 24.92 and 6.23
        ([90_000, 1], 1.1, [9_000, 1]),  # 9000.72 and 0.28, but never none
    ],
)
def test_the_batches_of_a_set_are_proportional_to_a_root_of_its_examples(examples, temperature, batches):
    assert sum(batches) == sum(-(-count // 10) for count in examples)
    shares = (
        np.array(examples, float) ** (1 / temperature) * sum(batches) / (np.array(examples) ** (1 / temperature)).sum()
    )
    assert batches_of_sets(examples, 10, temperature) == batches
    assert temperature == 1 or np.abs(batches - shares).max() <= 1.1


def mixture(counts: list[int], temperature: float, size: int = 4, seed: int = 0, twice: int = 1) -> Mixture:
    """Return a mixture of sets with these numbers of examples; `twice` of them in a row have the same query."""
    sets = np.repeat(np.arange(len(counts)), counts)
    return Mixture(np.arange(len(sets)) // twice, sets, size, temperature, np.random.default_rng(seed))


@pytest.mark.parametrize("temperature", [1, 3])
def test_every_batch_has_examples_of_one_set(temperature):
    mixed, borders = mixture([30, 9, 4], temperature), np.array([30, 39, 43])
    for _ in range(4):
        batches = mixed.epoch().reshape(-1, 4)
        sets = np.searchsorted(borders, batches, side="right")
        assert (sets == sets[:, :1]).all()
        assert Counter(sets[:, 0].tolist()) == dict(enumerate(mixed.batches))
        assert len(batches) * 4 == mixed.examples


def test_with_temperature_1_an_epoch_has_every_example_and_fills_the_last_batch_of_each_set():
    mixed = mixture([30, 9, 4], 1)
    for _ in range(3):
        counts = Counter(mixed.epoch().tolist())
        assert set(counts) == set(range(43)) and set(counts.values()) == {1, 2}
        repeated = [example for example, count in counts.items() if count == 2]
        assert len([e for e in repeated if e < 30]) == 2 and len([e for e in repeated if 30 <= e < 39]) == 3


def test_a_large_set_goes_on_in_the_next_epoch_and_a_small_one_is_passed_several_times():
    mixed = mixture([80, 8], 1e6)  # 22 batches: 11 each
    assert mixed.batches == [11, 11]
    large, small = Counter(), Counter()
    for _ in range(20):
        epoch = mixed.epoch().tolist()
        large.update(e for e in epoch if e < 80)
        small.update(e for e in epoch if e >= 80)
    assert set(large.values()) == {11}, "20 epochs of 11 batches are 11 passes over 20 batches"
    assert set(small.values()) == {110}


def test_batches_come_in_a_random_order_that_the_seed_decides():
    first, same, other = (mixture([30, 30], 1, seed=seed).epoch().tolist() for seed in (1, 1, 2))
    assert first == same != other
    sets = [int(batch[0] >= 30) for batch in np.array(first).reshape(-1, 4)]
    assert sets not in (sorted(sets), sorted(sets, reverse=True))


def test_no_batch_holds_a_query_twice():
    mixed = mixture([40, 16], 2, twice=2)
    for _ in range(5):
        assert all(len({e // 2 for e in batch}) == 4 for batch in mixed.epoch().reshape(-1, 4).tolist())


# --- the trainset

PAIRS = np.array([(q, 10 + q) for q in range(12)], dtype=np.int32)
POOL = {q: np.arange(100 * q + 100, 100 * q + 120, dtype=np.int32) for q in range(12)}


def test_batches_of_a_trainset_are_of_one_set(tmp_path, capsys):
    settings = TrainsetSettings(**SETTINGS | {"epochs": 3, "split_temperature": 1})
    sets = {"a": 9, "b": 3}  # query rows 0 to 8, and 9 to 11
    draw_trainset(PAIRS, candidates(tmp_path, POOL), settings, tmp_path / "t.arrow", sets=sets)
    columns, metadata = read_arrow(tmp_path / "t.arrow")
    assert metadata["examples"] == "16" and len(columns["query"]) == 48
    for batch in range(12):
        rows = batch_rows(batch, 16, 4)
        assert len({query >= 9 for query in columns["query"][rows].tolist()}) == 1
        for row in rows:
            query, (positive, *negatives) = columns["query"][row], columns["passages"][row].tolist()
            assert positive == 10 + query and set(negatives) <= set(POOL[int(query)].tolist())
    assert read_json(tmp_path / "t.json")["batches_of_sets"] == {"a": 3, "b": 1}
    assert "batch_size: 4 is more than the 3 examples of b, which it repeats" in capsys.readouterr().out


def test_a_set_without_an_example_and_settings_without_sets_are_errors(tmp_path):
    settings = TrainsetSettings(**SETTINGS | {"split_temperature": 2})
    few = candidates(tmp_path, {q: POOL[q] for q in range(9)})
    with pytest.raises(InputError, match="union_of: no query of b has negatives; leave this split out"):
        draw_trainset(PAIRS, few, settings, tmp_path / "t.arrow", sets={"a": 9, "b": 3})
    with pytest.raises(InputError, match="split_temperature in --settings needs the note of joined splits"):
        draw_trainset(PAIRS, few, settings, tmp_path / "t.arrow")
