"""Every loss equals a plain loop over its formula and what sentence-transformers defines alike."""

import sys
from pathlib import Path

import pytest

from led_pipeline import losses

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import compare_losses  # noqa: E402

COMPARED = compare_losses.comparisons()


@pytest.mark.parametrize("compared", COMPARED, ids=lambda c: f"{c.term} - {c.reference}")
def test_a_loss_equals_what_it_is_compared_with(compared):
    assert compared.difference() < 1e-6
    values = [compared.ours(compare_losses.Case(seed)) for seed in (0, 1)]
    assert (values[0] != values[1]).any(), "other numbers give another value"


def test_every_teacher_loss_is_compared_and_the_page_lists_all():
    assert losses.DISTILLATION.keys() <= {compared.term for compared in COMPARED}
    page = (ROOT / "docs/recipes/compared.md").read_text(encoding="utf-8").splitlines()
    listed = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in page if line.startswith("| ")][1:]
    assert listed == [(compared.term, compared.reference) for compared in COMPARED]
