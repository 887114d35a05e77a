"""Machine: what this computer has, asked of the system and of small programs, never by importing torch here."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.jobs.gpus import visible_devices

ANSWER_S = 60  # a driver that hangs is a finding, not a wait


@dataclass(frozen=True)
class Gpu:
    """A GPU that jobs may use; its name is empty and its memory None where nvidia-smi does not tell (a MIG slice)."""

    name: str
    memory: int | None  # bytes


def gpus() -> list[Gpu]:
    """Return the GPUs that jobs started here may use, as the launcher sees them."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    gpu_of: dict[str, Gpu] = {}  # by index and by UUID
    for line in answer(query)[1].splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4:
            gpu = Gpu(parts[2], int(parts[3]) * 2**20 if parts[3].isdigit() else None)
            gpu_of |= {parts[0]: gpu, parts[1]: gpu}
    return [gpu_of.get(device, Gpu("", None)) for device in visible_devices()]


def answer(command: list[str]) -> tuple[int, str]:
    """Return the exit status of a command and its output, 127 if there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except FileNotFoundError:
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {ANSWER_S} s"
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip()


def python(code: str) -> tuple[int, str]:
    """Return the exit status and the answer of a line of Python in a process of its own."""
    status, output = answer([sys.executable, "-c", code])
    return status, output.splitlines()[-1] if output else ""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory of this computer."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
