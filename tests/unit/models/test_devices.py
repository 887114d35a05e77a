"""A job with leased GPUs computes on them in one world, or it fails; CUDA is simulated."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from accelerate.state import AcceleratorState, PartialState
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus, locks
from led_pipeline.models import backbone, devices
from led_pipeline.training import sharding, train


@pytest.fixture
def card(monkeypatch):
    """Return a function that makes all GPUs cards of some capability, for a torch with the pinned wheel's kernels."""
    wheel = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: wheel)
    backbone._capability.cache_clear()

    def install(name: str, *capability: int) -> None:
        properties = SimpleNamespace(name=name, major=capability[0], minor=capability[1])
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    yield install
    backbone._capability.cache_clear()


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


def test_a_card_without_kernels_is_refused_by_name(card):
    card("Tesla V100-SXM2-16GB", 7, 0)
    with pytest.raises(InputError, match=r"Tesla V100-SXM2-16GB: its compute capability is 7\.0, and torch"):
        devices.check_world(state(1, "cuda"))


def test_a_card_before_ampere_trains_in_fp16_and_is_refused_in_bf16(card):
    card("Tesla T4", 7, 5)
    for precision in ("fp16", "float32", ""):
        devices.check_world(state(1, "cuda"), precision)
    with pytest.raises(InputError, match=r"precision: bf16 needs a card of Ampere or newer, and Tesla T4 .* 7\.5"):
        devices.check_world(state(1, "cuda"), "bf16")
    card("NVIDIA L4", 8, 9)
    devices.check_world(state(1, "cuda"), "bf16")


KERNEL = torch.ops.aten._flash_attention_forward.default


@pytest.mark.parametrize(
    ("capability", "head", "dtype", "flash"),
    [
        ((8, 0), 64, torch.float16, True),
        ((9, 0), 64, torch.bfloat16, True),
        ((7, 5), 64, torch.float16, False),
        ((8, 0), 64, torch.float32, False),
        ((8, 0), 20, torch.float16, False),
        ((8, 0), 264, torch.float16, False),
    ],
)
def test_attention_uses_flash_attention_where_the_card_and_the_sizes_allow_it(card, capability, head, dtype, flash):
    card("card", *capability)
    calls = set()

    class Recorded(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.add(function)
            return function(*args, **(kwargs or {}))

    with FakeTensorMode(allow_non_fake_inputs=True), Recorded():
        texts = backbone.PackedBatch(
            *[torch.zeros(9, dtype=torch.long, device="cuda")] * 2, None,
            torch.zeros(4, dtype=torch.int32, device="cuda"), None, np.array([4, 3, 2]), 4,
        )  # fmt: skip
        query, key, value = (torch.empty(1, 2, 9, head, dtype=dtype, device="cuda") for _ in range(3))
        output, _ = backbone.attend(torch.nn.Module(), query, key, value, None, texts=texts)
    assert output.shape == (1, 9, 2, head) and output.dtype == dtype and output.device.type == "cuda"
    assert (KERNEL in calls) is flash


def test_a_world_of_one_among_two_processes_is_an_error(two_leased, card, monkeypatch):
    card("NVIDIA A100", 8, 0)
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
    calls = {
        path.stem for path in source.rglob("*.py") if re.search(r"= (PartialState|Accelerator)\(", path.read_text())
    }
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
