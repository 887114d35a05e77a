"""Devices: the GPUs of a job can compute, and all of its processes form one world.

accelerate falls back to the processor where CUDA does not work. The processes of a job would then compute the same
thing independently of each other, so every command that torchrun starts checks both conditions.
"""

import os

import torch
from accelerate import PartialState

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus


def on_processor() -> bool:
    """Return whether the processes of this job are several and have no GPU: accelerate must be told."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not gpus.leased() and not torch.cuda.is_available()


def check_leased() -> None:
    """Check that torch can use every GPU that the launcher has leased for this job.

    Raises:
        InputError: it cannot; the sentence names the driver.
    """
    if gpus.leased():
        usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
        gpus.check_usable(usable, torch.__version__, torch.version.cuda)


def check_card(device: torch.device, precision: str = "") -> None:
    """Check that torch has kernels for a card, and that it can train in a precision if one is given.

    Raises:
        InputError: it has none, or it cannot.
    """
    card = torch.cuda.get_device_properties(device)
    capability = card.major, card.minor
    gpus.check_card(card.name, capability, torch.cuda.get_arch_list(), torch.__version__)
    if fault := gpus.precision_fault(card.name, capability, precision):
        raise InputError(fault)


def check_world(state: PartialState, precision: str = "") -> None:
    """Check that this process computes on a GPU where some are leased, in one world with the job's other processes.

    Args:
        precision: of a training.

    Raises:
        InputError: it does not, or the GPU cannot compute this.
    """
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if gpus.leased() and state.device.type != "cuda":
        raise InputError(
            f"GPUs are leased for this job, but it would compute on {state.device.type}: a variable of accelerate"
            " (ACCELERATE_USE_CPU, ACCELERATE_TORCH_DEVICE) selects that device; unset it, or set resources.*.gpu to 0"
        )
    if state.num_processes != expected:
        raise InputError(
            f"torchrun has started {expected} processes, but this one is in a world of {state.num_processes} on"
            f" {state.device.type}; every process would compute all by itself. Unset the variables of accelerate"
            " (ACCELERATE_*) that disable distributed computing"
        )
    if state.device.type == "cuda":
        check_card(state.device, precision)


def process_state() -> PartialState:
    """Return the state of this process among those of its job, after both checks.

    Raises:
        InputError: a leased GPU cannot be used, or the processes do not form one world.
    """
    check_leased()
    state = PartialState(cpu=True) if on_processor() else PartialState()
    check_world(state)
    return state
