"""Vectors and scores of models equal those of transformers, sentence-transformers and peft for the same strings."""

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("sentence_transformers")

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "benchmarks"))

import compare_models  # noqa: E402
import comparison  # noqa: E402
from small_models import BARE, CASES, ENCODERS, MASKED  # noqa: E402

from led_pipeline.models.backbone import FIRST_POSITION  # noqa: E402

pytestmark = pytest.mark.pipeline

COMPARED = compare_models.comparisons()


@pytest.mark.parametrize("compared", COMPARED, ids=lambda c: f"{c.term} - {c.reference}")
def test_a_model_equals_its_reference_implementation(compared):
    assert compared.difference(CASES) < 5e-6
    first, second = (torch.as_tensor(compared.ours(case)) for case in CASES[:2])
    assert first.any() and not torch.equal(first, second), "other texts give something else"


def test_compared_batches_have_texts_of_many_lengths_and_cut_texts():
    lengths = [len(text.split()) for case in CASES for text in case.texts]
    assert min(lengths) == 1 and max(lengths) > compare_models.LENGTH and len(set(lengths)) > 15


def test_every_pooling_of_every_model_type_is_compared_and_on_the_page():
    terms = {compared.term for compared in COMPARED}
    assert FIRST_POSITION.keys() <= {*ENCODERS, *BARE}
    assert {f"{name}, {pooling}" for name in (*ENCODERS, *BARE) for pooling in compare_models.poolings(name)} <= terms
    assert all(any(term.startswith(f"{kind}, log1p") for term in terms) for kind in MASKED.values())
    page = (ROOT / "docs/measurements/compared-models.md").read_text(encoding="utf-8")
    assert comparison.compared_pairs(page) == [(compared.term, compared.reference) for compared in COMPARED]
