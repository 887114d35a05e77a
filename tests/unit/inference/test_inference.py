from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch

from led_pipeline.inference import batches
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.ranker import Ranker


def test_groups_hold_every_text_once_longest_first_within_the_budget():
    lengths = np.random.default_rng(0).integers(2, 40, 200)
    groups = list(batches.by_length(lengths, 100))
    assert sorted(np.concatenate(groups)) == list(range(200))
    assert all(lengths[g].sum() <= 100 for g in groups)
    assert all(lengths[a].sum() + lengths[b[0]] > 100 for a, b in pairwise(groups))
    assert (np.diff(lengths[np.concatenate(groups)]) <= 0).all()


def test_every_pair_gets_its_own_score_also_when_it_comes_twice(tmp_path, monkeypatch):
    monkeypatch.setitem(batches.TOKENS_PER_BATCH, "cpu", 60)
    tiny.save_dataset(tmp_path)
    queries, passages = (batches.TokenStore([tmp_path / f"{name}.arrow"]) for name in ("queries", "passages"))
    rows = np.array([3, 0, 3, 9, 0, 3], dtype=np.int32), np.array([1, 29, 1, 0, 2, 7], dtype=np.int32)
    model, settings = Ranker(tiny.backbone("ranker")), tiny.settings("ranker")
    scores = batches.score(model, queries, passages, rows, settings, torch.device("cpu"))
    for query, passage, actual in zip(*rows, scores, strict=True):
        pair = batches.pairs(queries, [query], 8, passages, [passage], 20)
        assert model(to_packed_batch(pair, torch.device("cpu"))).item() == pytest.approx(actual, abs=1e-5)
    assert scores[0] == scores[2]
    half = batches.score(model, queries, passages, rows, settings, torch.device("cpu"), "bf16")
    assert half.dtype == np.float32 and 0 < np.abs(half - scores).max() < 0.02 * np.abs(scores).max()


class Card:
    """A GPU by its type alone."""

    type = "cuda"


@pytest.mark.parametrize(
    ("model_type", "precision", "dtype", "matmul"),
    [
        ("bert", None, torch.float16, "highest"),
        ("bert", "bf16", torch.bfloat16, "highest"),
        ("bert", "fp16", torch.float16, "highest"),
        ("bert", "float32", None, "highest"),
        ("t5", None, None, "high"),
        ("t5", "float32", None, "highest"),
    ],
)
def test_on_a_gpu_products_have_10_bits_unless_the_stage_says_otherwise(
    monkeypatch, model_type, precision, dtype, matmul
):
    model = Ranker(tiny.backbone("ranker"))
    model.backbone.config.model_type = model_type
    entered = []

    class Autocast:
        def __init__(self, device, dtype, enabled):
            entered.append((device, dtype if enabled else None))

        __enter__ = __exit__ = lambda *_: None

    monkeypatch.setattr(torch, "autocast", Autocast)
    with batches.products(model, Card(), precision):
        assert torch.get_float32_matmul_precision() == matmul
    assert entered == [("cuda", dtype)] and torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", [None, "float32"])
def test_on_a_processor_products_are_float32(precision):
    with batches.products(torch.nn.Linear(1, 1), torch.device("cpu"), precision):
        assert not torch.is_autocast_enabled("cpu") and torch.get_float32_matmul_precision() == "highest"


def test_fp16_is_nearer_to_float32_than_bf16(tmp_path):
    tiny.save_dataset(tmp_path)
    queries, passages = (batches.TokenStore([tmp_path / f"{name}.arrow"]) for name in ("queries", "passages"))
    rows = np.repeat(np.arange(10, dtype=np.int32), 30), np.tile(np.arange(30, dtype=np.int32), 10)
    model, settings = Ranker(tiny.backbone("ranker")), tiny.settings("ranker")
    full, half, brain = (
        batches.score(model, queries, passages, rows, settings, torch.device("cpu"), precision)
        for precision in (None, "fp16", "bf16")
    )
    assert 0 < np.abs(half - full).mean() < np.abs(brain - full).mean() / 4
