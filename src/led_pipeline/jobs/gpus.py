"""GPUs of this machine: which ones jobs may use, and which driver torch's CUDA needs, without importing torch."""

import os
import re
import subprocess
from collections.abc import Sequence

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import locks

# Oldest driver of each CUDA release on Linux. Source: table 2 of the CUDA Toolkit's release notes.
OLDEST_DRIVER = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
BF16_CAPABILITY = (8, 0)  # Ampere: bf16 products, and FlashAttention's kernel
ANSWER_S = 60  # a driver that hangs must not hang its caller


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    A GPU that is divided by MIG counts as one: CUDA uses one instance per process. To use several instances, name them
    in CUDA_VISIBLE_DEVICES.
    """
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is not None:
        return [device.strip() for device in variable.split(",") if device.strip()]
    lines = nvidia_smi("--list-gpus").splitlines()  # below a divided GPU, its instances are indented
    return [match[1] for line in lines if (match := re.match(r"GPU (\d+):", line))]


def nvidia_smi(*arguments: str) -> str:
    """Return the output of nvidia-smi; nothing without a driver or without an answer."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, check=True, timeout=ANSWER_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout


def leased() -> int:
    """Return how many GPUs the launcher has leased for this job on this machine."""
    return len([path for path in os.environ.get(locks.LEASE, "").split(os.pathsep) if path])


def check_usable(usable: int, torch: str, cuda: str | None) -> None:
    """Check that torch can use every GPU that the launcher has leased for this job.

    Args:
        usable: GPUs that torch can use.
        torch: its version.
        cuda: the version that torch was built with, None for a torch without CUDA.

    Raises:
        InputError: it cannot; the sentence names the driver.
    """
    if usable < (count := leased()):
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        raise InputError(
            f"{count} GPUs are leased for this job (CUDA_VISIBLE_DEVICES={names}) and torch {torch} can use {usable} of"
            f" them: {driver_advice(cuda)}. To compute on the processor, set resources.*.gpu to 0"
        )


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether code for some architectures runs on a card.

    Machine code (sm_86) runs on cards of the same major and the same or a later minor capability, code that the driver
    compiles (compute_90) on all later cards. Architectures with a letter (sm_90a) run on that capability alone.
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        exact = digits[-1:].isalpha()
        number = int(digits.rstrip("af") or 0)
        target = number // 10, number % 10
        if exact:
            fits = target == capability
        else:
            fits = target <= capability and (kind == "compute" or target[0] == capability[0])
        if fits:
            return True
    return False


def check_card(name: str, capability: tuple[int, int], architectures: Sequence[str], torch: str) -> None:
    """Check that torch has kernels for a card.

    Raises:
        InputError: it has none.
    """
    if not runs_on(capability, architectures):
        raise InputError(
            f"{name}: its compute capability is {capability[0]}.{capability[1]}, and torch {torch} has kernels for"
            f" {', '.join(architectures) or 'none'} only; use another card (Turing or newer), a torch built for this"
            " one, or set resources.*.gpu to 0"
        )


def precision_fault(name: str, capability: tuple[int, int], precision: str) -> str | None:
    """Return why a card cannot train in a precision, beginning with its key; None if it can."""
    if precision == "bf16" and capability < BF16_CAPABILITY:
        return (
            f"precision: bf16 needs a card of Ampere or newer, and {name} has the compute capability"
            f" {capability[0]}.{capability[1]}; set fp16 (or float32)"
        )
    return None


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver; None without one."""
    lines = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return lines[0].strip() if lines and re.match(r"\d+\.", lines[0].strip()) else None


def driver_advice(cuda: str | None) -> str:
    """Return what to do about the driver where torch cannot use a GPU.

    Args:
        cuda: the version that torch was built with, None for a torch without CUDA.
    """
    if cuda is None:
        return "this torch works on the processor only; install torch with CUDA (no extra index URL for the CPU)"
    installed, oldest = driver_version(), OLDEST_DRIVER.get(cuda.partition(".")[0])
    if installed is None:
        return f"nvidia-smi reports no driver; torch's CUDA {cuda} needs {oldest or 'a recent one'} or newer"
    if oldest and _numbers(installed) < _numbers(oldest):
        return f"the driver {installed} is too old: torch's CUDA {cuda} needs {oldest} or newer; install a newer driver"
    return f"the driver {installed} is new enough for torch's CUDA {cuda}; look for failed GPUs with nvidia-smi"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
