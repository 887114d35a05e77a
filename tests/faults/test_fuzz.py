"""3,000 damaged, odd and hostile files: each is refused with its name, or read like by an independent reader."""

import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz import mutated, outcome
from fuzz_targets import TARGETS, Target

from led_pipeline.files.errors import InputError

FUZZ = Path(__file__).with_name("fuzz.py")


def test_no_input_ends_in_a_traceback_a_silent_difference_or_a_hang():
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    command = [sys.executable, str(FUZZ), "--seed", "0", "--inputs", "3000"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stdout[-20_000:] + answer.stderr[-5_000:]
    total = answer.stdout.replace(",", "").splitlines()[-1]
    read, refused = map(int, re.fullmatch(r"seed 0: (\d+) read (\d+) refused 0 faults", total).groups())
    assert read > 500 and refused > 1500 and read + refused == 3000


def fake(read, simply=lambda content: 1) -> Target:
    return Target("a.txt", b"a", read, simply)


def allocate(path: Path) -> int:
    bytearray(400_000_000)[::4096] = b"x" * 97_657
    return 1


def refuse_with_name(path: Path) -> None:
    raise InputError(f"{path}: wrong")


def refuse_without_name(path: Path) -> None:
    raise InputError("something is wrong")


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda path: 1, "^read$"),
        (refuse_with_name, "^refused$"),
        (refuse_without_name, "the file is not named"),
        (lambda path: 2, "read as 2"),
        (lambda path: {}["x"], "KeyError"),
        (allocate, "MB more memory"),
    ],
)
def test_the_fuzzer_detects_every_kind_of_fault(tmp_path, read, says):
    assert re.search(says, outcome(fake(read), tmp_path / "a.txt", b"a"))


def test_the_fuzzer_detects_a_hang(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.SECONDS", 0.2)

    def endless(path: Path) -> None:
        while True:
            pass

    assert "more than 0.2 s" in outcome(fake(endless), tmp_path / "a.txt", b"a")


def test_a_seed_always_makes_the_same_inputs():
    def inputs() -> list[bytes]:
        return [mutated(Random(f"0 {i}"), target.content, target.binary) for target in TARGETS[:3] for i in range(20)]

    assert inputs() == inputs()
    assert len(set(inputs())) > 30
