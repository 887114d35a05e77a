"""Which GPUs a job may use, by a replaced nvidia-smi, and what the sentences say about drivers."""

import os

import pytest

from led_pipeline.jobs import gpus, locks

PLAIN = "GPU 0: NVIDIA A100 (UUID: GPU-1)\nGPU 1: NVIDIA A100 (UUID: GPU-2)\n"
DIVIDED = (
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n"
    "  MIG 1g.10gb     Device  0: (UUID: MIG-a)\n"
    "  MIG 1g.10gb     Device  1: (UUID: MIG-b)\n"
    "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"
)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Replace nvidia-smi by a program that prints a text."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def replace(text: str, status: int = 0) -> None:
        (tmp_path / "answer").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/answer\nexit {status}\n")
        program.chmod(0o755)

    return replace


def test_the_visible_devices_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7f,MIG-1")
    assert gpus.visible_devices() == ["3", "GPU-7f", "MIG-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible_devices() == []


@pytest.mark.parametrize("text", [PLAIN, DIVIDED], ids=["whole", "divided by MIG"])
def test_without_a_list_the_driver_reports_the_devices(nvidia_smi, text):
    assert gpus.visible_devices() == [], "no driver, no devices"
    nvidia_smi(text)
    assert gpus.visible_devices() == ["0", "1"]


def test_a_failing_driver_has_no_devices(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", status=9)
    assert gpus.visible_devices() == [] and gpus.driver_version() is None


def test_the_advice_names_the_installed_and_the_needed_driver(nvidia_smi):
    assert "nvidia-smi reports no driver; torch's CUDA 13.0 needs 580.65.06 or newer" in gpus.driver_advice("13.0")
    nvidia_smi("550.54.14\n")
    assert gpus.driver_advice("13.0").startswith(
        "the driver 550.54.14 is too old: torch's CUDA 13.0 needs 580.65.06 or newer"
    )
    assert "550.54.14 is new enough for torch's CUDA 12.8" in gpus.driver_advice("12.8")
    assert "works on the processor only" in gpus.driver_advice(None)
    nvidia_smi("580.65.06\n580.65.06\n")
    assert "580.65.06 is new enough" in gpus.driver_advice("13.0"), "two GPUs, one driver"


def test_leased_gpus_are_counted(monkeypatch):
    monkeypatch.delenv(locks.LEASE, raising=False)
    assert gpus.leased() == 0
    monkeypatch.setenv(locks.LEASE, os.pathsep.join(["/tmp/a.lock", "/tmp/b.lock"]))
    assert gpus.leased() == 2


WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


RUNS = {(7, 0): False, (7, 5): True, (8, 0): True, (8, 7): True, (8, 9): True, (9, 0): True} | {
    (10, 3): True,
    (11, 0): False,
    (12, 1): True,
}


@pytest.mark.parametrize(("capability", "runs"), RUNS.items())
def test_machine_code_runs_on_cards_of_its_major_capability(capability, runs):
    assert gpus.runs_on(capability, WHEEL) is runs


def test_code_for_one_card_alone_and_code_that_the_driver_compiles():
    assert gpus.runs_on((9, 0), ["sm_90a"]) and not gpus.runs_on((10, 0), ["sm_90a"])
    assert gpus.runs_on((12, 0), ["sm_80", "compute_90"]) and not gpus.runs_on((8, 6), ["compute_90"])
