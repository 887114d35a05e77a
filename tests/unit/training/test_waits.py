"""A training step does not wait for the GPU: no copy from pageable memory, no value read back.

The loss is computed on fake tensors of a GPU (`benchmarks/fake_step.py`); a whole step runs on the processor, where a
read of a value is the same operation.
"""

import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import tiny
import torch
from accelerate import Accelerator
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._python_dispatch import TorchDispatchMode

from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import objectives, train
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.loop import fit
from led_pipeline.training.modules import trainable
from led_pipeline.training.plan import build_plan
from led_pipeline.training.training_data import TrainingData

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import fake_step
import workload

SIZES = 2, 64, 200  # layers, hidden size, vocabulary
TEACHERS = [{"stage": "lex", "loss": "rank"}, {"stage": "lex", "loss": "kl"}]
CASES = {
    "LED": workload.settings("dense", teachers=TEACHERS),
    "LED with a dual loss": workload.settings("dense", teachers=TEACHERS, dual_weight=1.0),
    "DEN": workload.settings("dense", teachers=[]),
    "DEN over all negatives": workload.settings("dense", teachers=[], contrastive_candidates="batch_negatives"),
    "LEX": workload.settings("lexicon", flops_passages=0.1, flops_queries=0.1),
    "LEX in double logarithm": workload.settings("lexicon", activation="log1p_twice", anti_zero=0.1),
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "with masked positives"])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_of_a_step_waits_for_nothing(tmp_path, name, masked):
    # Among three passages every query's positive is a candidate of another query.
    data = workload.training_data(tmp_path, 4, 3 if masked else 1_000, 3, SIZES[-1])
    counts = fake_step.step(data, CASES[name], 4, SIZES, gradients=False)
    assert counts.tokens > 0 and counts.operations > 100  # those of a model with two layers
    assert counts.copies == [] and counts.reads == []


def test_a_pageable_copy_and_a_read_would_be_noticed():
    with fake_step.fake_gpu() as counted:
        torch.zeros(3).to(fake_step.CUDA)
        torch.zeros(3).to(fake_step.CUDA, non_blocking=True)  # pageable memory: the host waits anyway
        torch.zeros(3).pin_memory().to(fake_step.CUDA, non_blocking=True)
        with pytest.raises(DataDependentOutputException):
            (torch.zeros(3, device=fake_step.CUDA) > 0).any().item()
        torch.zeros(3, device=fake_step.CUDA).cpu()
    assert counted.copies == ["aten._to_copy.default (3,)"] * 2 + ["aten._to_copy.default (3,) to the host"]


class Reads(TorchDispatchMode):
    """Counts operations that read a value or a size that depends on values."""

    def __init__(self):
        super().__init__()
        self.names: Counter = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if str(function) in ("aten._local_scalar_dense.default", "aten.nonzero.default"):
            self.names[str(function)] += 1
        return function(*args, **(kwargs or {}))


def test_steps_that_are_not_logged_read_no_value(tmp_path):
    """The backward pass, clipping, the optimizer and the loop around them."""
    tiny.save_dataset(tmp_path)
    settings = tiny.changed(
        tiny.settings("dense", teachers=[tiny.TEACHER | {"stage": "lex", "loss": "rank"}]), max_steps=6
    )
    data = TrainingData.read(
        tmp_path / "trainset.arrow", tmp_path / "queries.arrow", [tmp_path / "passages.arrow"], settings
    )
    reads_of_steps = []

    def step_loss(model, step):
        reads_of_steps.append(reads.names.total())
        rows = train.batch_rows(step, data.trainset.examples, 4)
        return objectives.retriever_loss(model, data, rows, slice(0, 4), settings, torch.device("cpu"))

    plan = build_plan(settings, RunningSettings(checkpoint_min=1e6), data.trainset.examples, None)
    plan = type(plan)(**vars(plan) | {"log_every": 100, "batch_size": 4})
    accelerator = Accelerator(cpu=True)
    model = trainable(tiny.start(tmp_path / "dense", settings), settings)
    with closing(Checkpoints(tmp_path / "c", "me", accelerator)) as states, Reads() as reads:
        fit(accelerator, model, step_loss, plan, states)
    logged = reads_of_steps[1] - reads_of_steps[0]
    assert logged > 0, "the first step is logged"
    assert len(set(reads_of_steps[1:])) == 1, "steps 2 to 5 read nothing"
    assert reads.names.total() > reads_of_steps[-1], "the last step is logged"
