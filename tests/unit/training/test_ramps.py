"""Weights that move over a training: their values by hand, and the losses of a training that has them."""

import json

import pytest
import tiny

from led_pipeline.training import ramps, train

KL = tiny.TEACHER | {"stage": "lex", "loss": "kl"}
RANK = tiny.TEACHER | {"stage": "lex", "loss": "rank", "weight": 0.7}


def weights(steps: int, **changes) -> list[tuple[float, ...]]:
    """Return the weights of the contrastive loss and of every teacher, step by step."""
    settings = tiny.settings("dense", **changes)
    now = [ramps.at_step(settings, step, steps) for step in range(steps)]
    return [(each.contrastive_weight, *(teacher.weight for teacher in each.teachers)) for each in now]


def test_a_weight_moves_in_a_line_from_the_first_step_to_the_last():
    teachers = [KL | {"weight": 0.2, "weight_end": 1.0}, RANK]
    moved = weights(5, contrastive_weight=1.0, contrastive_weight_end=0.0, teachers=teachers)
    expected = [(1.0, 0.2, 0.7), (0.75, 0.4, 0.7), (0.5, 0.6, 0.7), (0.25, 0.8, 0.7), (0.0, 1.0, 0.7)]
    assert [pytest.approx(each) for each in expected] == moved


def test_a_weight_reaches_its_end_within_the_fraction_of_the_steps_and_has_it_after_that():
    moved = weights(9, teachers=[KL | {"weight": 0.0, "weight_end": 2.0}], ramp_fraction=0.5)
    assert [teacher for _, teacher in moved] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0])


def test_one_step_has_the_weights_of_the_recipe_and_without_an_end_nothing_moves():
    assert weights(1, teachers=[KL | {"weight": 0.3, "weight_end": 2.0}]) == [(1.0, 0.3)]
    settings = tiny.settings("dense", teachers=[KL])
    assert ramps.at_step(settings, 3, 5) is settings


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_loss_of_every_step_has_the_weights_of_that_step(tmp_path, family):
    tiny.save_dataset(tmp_path)
    flops = {"flops_passages": 0.0, "flops_queries": 0.0} if family == "lexicon" else {}
    teachers = [KL | {"weight": 0.0, "weight_end": 2.0}, RANK]
    settings = tiny.settings(family, contrastive_weight=1.0, contrastive_weight_end=0.5, teachers=teachers, **flops)
    train.train(tiny.training(tmp_path, settings, tmp_path / "model"))
    lines = [json.loads(line) for line in (tmp_path / "model/train.jsonl").read_text().splitlines()][:-1]
    assert len(lines) == 6
    for step, line in enumerate(lines):
        contrastive, kl = 1 - 0.5 * step / 5, 2 * step / 5
        assert (line["contrastive_weight"], line["kl_lex_weight"]) == pytest.approx((contrastive, kl))
        expected = contrastive * line["contrastive"] + kl * line["kl_lex"] + 0.7 * line["rank_lex"]
        assert line["loss"] == pytest.approx(expected, rel=1e-4)
