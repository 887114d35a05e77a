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
