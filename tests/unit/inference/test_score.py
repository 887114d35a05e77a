import sys

import numpy as np
import tiny
import torch

from led_pipeline.data.tables import read_arrow
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.inference import score
from led_pipeline.models.backbone import to_packed_batch


def test_the_command_scores_a_trainset_without_dropout_and_cuts_each_side_at_its_length(tmp_path, monkeypatch):
    tiny.save_dataset(tmp_path)
    settings = tiny.settings("ranker")
    tiny.backbone("ranker", hidden_dropout_prob=0.5).save_pretrained(tmp_path / "model")
    model = tiny.start(tmp_path / "model", settings).eval()
    queries, passages = TokenStore([tmp_path / "queries.arrow"]), TokenStore([tmp_path / "passages.arrow"])
    columns, _ = read_arrow(tmp_path / "trainset.arrow")
    assert queries.lengths(columns["query"], 20).max() == 12, "longer than the 8 tokens that are read"
    expected = []
    with torch.no_grad():
        for query, candidates in zip(columns["query"], columns["passages"], strict=True):
            for passage in candidates:
                pair = pairs(queries, [query], 8, passages, [passage], 20)
                expected.append(model(to_packed_batch(pair, torch.device("cpu"))).item())
    monkeypatch.setattr(score, "load", lambda _: (tiny.start(tmp_path / "model", settings).train(), settings))
    options = {"model": tmp_path / "model", "pairs": tmp_path / "trainset.arrow", "out": tmp_path / "scores.npy"}
    options |= {"queries": tmp_path / "queries.arrow", "passages": tmp_path / "passages.arrow"}
    command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["score", *command])
    score.main()
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, rtol=1e-5, atol=1e-5)
