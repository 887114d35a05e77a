"""A job with leased GPUs computes on them in one world, or it fails; CUDA is simulated."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from accelerate.state import AcceleratorState, PartialState

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus, locks
from led_pipeline.models import devices
from led_pipeline.training import sharding, train


def state(processes: int, device: str) -> PartialState:
    return SimpleNamespace(num_processes=processes, device=torch.device(device))


@pytest.fixture
def two_leased(monkeypatch):
    monkeypatch.setenv(locks.LEASE, os.pathsep.join(["/tmp/gpu-0.lock", "/tmp/gpu-1.lock"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(gpus, "driver_version", lambda: "550.54.14")
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_without_a_lease_nothing_is_checked(monkeypatch):
    monkeypatch.delenv(locks.LEASE, raising=False)
    devices.check_leased()


def test_leased_gpus_without_cuda_are_an_error_that_names_the_driver(two_leased, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"2 GPUs are leased .*=0,1.* can use 0 of them: the driver 550.* 580\.65"):
        devices.check_leased()


def test_a_lost_gpu_is_an_error(two_leased, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="can use 1 of them"):
        devices.check_leased()


def test_a_world_of_one_among_two_processes_is_an_error(two_leased, monkeypatch):
    with pytest.raises(InputError, match="GPUs are leased for this job, but it would compute on cpu"):
        devices.check_world(state(2, "cpu"))
    with pytest.raises(InputError, match="started 2 processes, but this one is in a world of 1 on cuda"):
        devices.check_world(state(1, "cuda"))
    devices.check_world(state(2, "cuda"))
    monkeypatch.delenv(locks.LEASE)
    with pytest.raises(InputError, match="started 2 processes"):
        devices.check_world(state(1, "cpu"))
    devices.check_world(state(2, "cpu"))


def test_a_training_checks_its_gpus_before_anything_else(two_leased, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(AcceleratorState, "__init__", None)  # not even accelerate may start
    with pytest.raises(InputError, match="2 GPUs are leased"):
        train.train(tiny.training(tmp_path, tiny.settings("dense"), tmp_path / "out"))


def test_a_training_checks_its_world(tmp_path, monkeypatch):
    monkeypatch.delenv(locks.LEASE, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    accelerator = SimpleNamespace(state=state(1, "cpu"))  # as accelerate starts where CUDA does not work
    monkeypatch.setattr(sharding, "accelerator_of", lambda *_, **__: accelerator)
    with pytest.raises(InputError, match="started 2 processes, but this one is in a world of 1"):
        train.train(tiny.training(tmp_path, tiny.settings("dense"), tmp_path / "out"))


def test_no_other_module_starts_processes_of_accelerate():
    source = Path(train.__file__).parents[1]
    calls = {path.stem for path in source.rglob("*.py") if re.search(r"= (PartialState|Accelerator)\(", path.read_text())}
    assert calls == {"devices", "sharding", "score"}, "score joins the state that its main has checked"


@pytest.mark.pipeline
def test_a_launched_job_with_leased_gpus_never_computes_on_the_processor(tmp_path):
    """nvidia-smi reports two GPUs with an old driver, which this torch cannot use."""
    program = tmp_path / "nvidia-smi"
    lines = "GPU 0: A (UUID: GPU-1)\\nGPU 1: A (UUID: GPU-2)\\n"
    program.write_text(f"#!/bin/sh\ncase $1 in --list-gpus) printf '{lines}';; *) echo 470.1;; esac\n")
    program.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU")}
    environment |= {"PATH": f"{tmp_path}{os.pathsep}{environment['PATH']}", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "led_pipeline.jobs.launch", "--gpu", "2", "--threads", "2", "--"]
    command += ["led_pipeline.inference.encode", "--model", "m", "--side", "query", "--tokens", "t"]
    command += ["--out", str(tmp_path / "out")]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert answer.returncode != 0
    assert "error: 2 GPUs are leased for this job (CUDA_VISIBLE_DEVICES=0,1) and torch" in answer.stderr
    assert "set resources.*.gpu to 0" in answer.stderr and not (tmp_path / "out").exists()
