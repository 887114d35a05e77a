import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator
from torch import nn

from led_pipeline.data.examples import Trainset
from led_pipeline.data.ragged import Ragged
from led_pipeline.files.errors import InputError
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import log, objectives, train
from led_pipeline.training.health import SIGNS
from led_pipeline.training.log import TrainingLog, flops_per_token
from led_pipeline.training.modules import Retriever


def test_a_token_costs_six_flops_per_weight_of_a_linear_layer_and_two_in_the_vocabulary():
    model = tiny.backbone("lexicon", max_position_embeddings=32)  # fewer than word pieces, as always
    size, inner, words = 16, 32, len(tiny.VOCABULARY)
    layer = 4 * size * size + 2 * size * inner
    assert flops_per_token(LexiconEncoder(model)) == 6 * (2 * layer + size * size) + 2 * words * size
    assert flops_per_token(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))) == 6 * 32


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(log, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def watched(tmp_path, clock) -> TrainingLog:
    (tmp_path / "led").mkdir()
    training_log = TrainingLog(
        tmp_path / "led" / "train.jsonl", Accelerator(cpu=True), nn.Linear(10, 100), steps=20, batch_size=4
    )
    training_log.peak = 6e7
    training_log.start(step=0, validated=0, seconds=7.0)
    return training_log


def test_a_line_of_the_log_has_losses_health_and_the_speed_since_the_line_before(watched, clock, capsys):
    for step in range(1, 11):
        clock.now += 2
        if step == 3:
            with watched.pause():
                clock.now += 1_000
        watched.count(step, tokens=50_000)
        if step in (5, 10):
            watched.losses({"loss": 1.5, "rank_lex": 0.25}, {"largest_score": 3.0}, learning_rate=0.1)
    first, second = (json.loads(line) for line in watched.path.read_text().splitlines())
    # 5 steps of 4 queries in 10 s; 250,000 tokens x 6,000 FLOPs in 10 s are 1.5e8 FLOP/s, 2.5 times this peak.
    assert first["speed"] == {
        "seconds_left": 3030.0,
        "queries_per_s": 2.0,
        "tokens_per_s": 25_000.0,
        "share_of_peak": 2.5,
    }
    assert second["speed"]["tokens_per_s"] == 25_000 and second["seconds"] == 1027
    assert second["loss"] == 1.5 and second["rank_lex"] == 0.25 and second["health"] == {"largest_score": 3.0}
    captured = capsys.readouterr()
    assert captured.out == "" and "\r" not in captured.err
    assert captured.err.splitlines()[0] == (
        "led: step 5 of 20: loss 1.5 (rank_lex 0.25), 2 queries/s, 25,000 tokens/s, 250% of peak, 50:30 left"
    )


def test_a_resumed_training_continues_its_counts(watched, clock):
    watched.start(step=10, validated=0, seconds=30.0)
    clock.now += 5
    watched.count(11, tokens=0)
    watched.losses({"loss": 1.0}, {}, learning_rate=0.1)
    line = json.loads(watched.path.read_text())
    assert line["seconds"] == 35 and line["speed"] == {"seconds_left": 45.0, "queries_per_s": 0.8}


def test_a_terminal_shows_a_progress_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(log.sys.stderr, "isatty", lambda: True, raising=False)
    training_log = TrainingLog(
        tmp_path / "led" / "train.jsonl", Accelerator(cpu=True), nn.Linear(1, 1), steps=2, batch_size=1
    )
    (tmp_path / "led").mkdir()
    training_log.start(step=0, validated=0, seconds=0)
    training_log.count(1, tokens=3)
    training_log.losses({"loss": 1.5}, {}, learning_rate=0.1)
    training_log.finish(None)
    assert "led:  50%" in capsys.readouterr().err


def test_a_resumed_training_cuts_the_log_lines_that_it_writes_again(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [{"step": 2}, {"step": 2, "validation": {}}, {"step": 4}, {"step": 4, "validation": {}}, {"step": 5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"step": 4, "finished": True}]) + '{"step"')
    log.cut_log(path, step=4, validated=2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:3]


def test_tensorboard_shows_the_losses_of_a_training(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tiny.save_dataset(tmp_path)
    running = RunningSettings(tracking=["tensorboard"])
    train.train(tiny.training(tmp_path, tiny.settings("lexicon", max_steps=3), tmp_path / "lex", running=running))
    (events,) = (tmp_path / "lex.checkpoints").glob("*/events.out.tfevents.*")
    accumulator = event_accumulator.EventAccumulator(str(events))
    accumulator.Reload()
    assert {"loss", "contrastive", "flops_queries", "learning_rate", "tokens_per_s", *SIGNS} <= set(
        accumulator.Tags()["scalars"]
    )
    log = [json.loads(line) for line in (tmp_path / "lex/train.jsonl").read_text().splitlines()]
    losses = [(event.step, event.value) for event in accumulator.Scalars("loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in log if "loss" in line]


def test_error_names_a_missing_tracker_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "is_wandb_available", lambda: False)
    running = RunningSettings(tracking=["wandb"])
    training = tiny.training(tmp_path, tiny.settings("dense"), tmp_path / "led", running=running)
    with pytest.raises(InputError, match="tracking: wandb is not installed; pip install wandb, or take it out"):
        train.train(training)


def test_the_real_tokens_of_a_batch_are_counted(tmp_path):
    """One query of `[CLS] a b [SEP]` and two passages of four and of three tokens."""
    stores = []
    tiny.save_tokenizer(tmp_path / "tokenizer")
    for name, texts in {"queries": ["a b"], "passages": ["a b", "c"]}.items():
        stores.append(tiny.save_store(tmp_path / f"{name}.arrow", tmp_path / "tokenizer", {"text": texts}))
    trainset = Trainset(np.zeros(1, dtype=np.int32), Ragged.from_rows([np.array([0, 1])], np.int32), 1)
    data = objectives.TrainingData(*stores, trainset)
    rows, local = np.zeros(1, dtype=np.int64), slice(0, 1)
    for family, expected in {"dense": 4 + 4 + 3, "ranker": (4 + 3) + (4 + 2)}.items():
        tiny.backbone(family).save_pretrained(tmp_path / family)
        encoder = tiny.start(tmp_path / family, tiny.settings(family))
        compute = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
        model = encoder if family == "ranker" else Retriever(encoder)
        settings = tiny.settings(family)
        assert compute(model, data, rows, local, settings, torch.device("cpu")).tokens == expected
