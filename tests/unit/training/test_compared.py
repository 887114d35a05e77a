"""Every loss equals a plain loop over its formula and, if there is one, the loss of sentence-transformers."""

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from led_pipeline.recipe.stages import Ranker
from led_pipeline.training import losses

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))

import compare_losses  # noqa: E402
import comparison  # noqa: E402

COMPARED = compare_losses.comparisons()


@pytest.mark.parametrize("compared", COMPARED, ids=lambda c: f"{c.term} - {c.reference}")
def test_a_loss_equals_its_reference_implementation(compared):
    assert compared.difference(compare_losses.CASES) < 1e-6
    values = [torch.as_tensor(compared.ours(case)) for case in compare_losses.CASES[:2]]
    assert (values[0] != values[1]).any(), "other numbers give another value"


def test_every_loss_of_a_recipe_is_compared_and_on_the_page():
    terms = {compared.term.partition(",")[0] for compared in COMPARED}
    assert losses.DISTILLATION.keys() <= terms
    assert {f"ranking_loss {name}" for name in get_args(Ranker.model_fields["ranking_loss"].annotation)} <= terms
    page = (ROOT / "docs/measurements/compared.md").read_text(encoding="utf-8")
    assert comparison.compared_pairs(page) == [(compared.term, compared.reference) for compared in COMPARED]
