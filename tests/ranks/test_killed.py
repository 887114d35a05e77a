"""A training that is killed or stopped and then resumed ends with the same bits as an undisturbed one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed
import pytest
import tiny

pytestmark = pytest.mark.ranks


@pytest.mark.parametrize(
    ("family", "keep", "nth"), [("dense", "last", 1), ("lexicon", "best", -1), ("masked_lm", "last", 1)]
)
def test_a_training_killed_at_any_event_ends_with_the_same_bits(tmp_path, family, keep, nth):
    killed.save(tmp_path)
    command = [sys.executable, killed.__file__, str(tmp_path), family, keep, str(nth)]
    answer = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert answer.returncode == 0, answer.stderr
    lives = json.loads(answer.stdout)
    assert {life["signal"] for life in lives} == {signal.SIGKILL}
    renamed = {f"os.rename .{name}.*.part" for name in ("progress.json", "model")}
    removed = {f"os.remove {name}" for name in ("model.safetensors", "optimizer.bin", "random_states_*.pkl")}
    kinds = {killed.kind(life["event"]) for life in lives}
    assert {
        "step ",
        "torch.save ",
        "open train.jsonl",
        "os.mkdir state.*",
        "os.rmdir state.*",
        *renamed,
        *removed,
    } <= kinds
    assert [life["event"] for life in lives if not life["same"]] == []
    for life in lives:
        assert not [name for name in life["left"] if name.endswith(".part")], life["event"]
        assert len([name for name in life["left"] if name.startswith("state.")]) == 1, life["event"]


# --- under torchrun, as the workflow starts it


def start(folder: Path, out: Path) -> subprocess.Popen:
    """Start a training of 120 steps on two processes, with dropout and a validation at its end."""
    settings = tiny.settings("dense", epochs=40)
    validation = killed.VALIDATION | {"every": 1_000, "keep": "last"}
    ids = [folder / "queries.parquet", folder / "passages.parquet"]
    options = {
        "init": [folder / "dense.dropout"],
        "tokenizer": [folder / "tokenizer"],
        "queries": [folder / "queries.arrow"],
        "passages": [folder / "passages.arrow"],
        "trainset": [folder / "trainset.arrow"],
        "settings": [settings.model_dump_json()],
        "validation": [json.dumps(validation)],
        "validation-ranking": [folder / "ranking.parquet"],
        "validation-queries": [folder / "queries.arrow"],
        "validation-qrels": [folder / "dev.qrels"],
        "validation-ids": ids,
        "checkpoints": [out.with_name(f"{out.name}.checkpoints")],
        "out": [out],
    }
    command = [sys.executable, "-m", "led_pipeline.jobs.launch", "--gpu", "0", "--processes", "2", "--threads", "2"]
    command += ["--", "led_pipeline.training.train"]
    for name, values in options.items():
        command += [f"--{name}", *map(str, values)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def log_of(out: Path) -> list[str]:
    path = out.with_name(f"{out.name}.checkpoints") / "train.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[Path, int, str]:
    """Train twice to the end, and once until a SIGTERM; return the folder, and status and output of the stopped one."""
    folder = tmp_path_factory.mktemp("stopped")
    killed.save(folder, epochs=40)
    whole, again, broken = (start(folder, folder / name) for name in ("whole", "again", "broken"))
    try:
        while broken.poll() is None and len(log_of(folder / "broken")) < 4:
            time.sleep(0.01)
        broken.terminate()
        output = broken.communicate(timeout=60)[0]
        for process in (whole, again):
            assert process.wait(timeout=120) == 0, process.communicate()[0]
    finally:
        for process in (whole, again, broken):
            process.terminate()
    return folder, broken.returncode, output


def test_the_same_command_gives_the_same_bits_on_two_processes(stopped):
    first, second = (killed.outcome(stopped[0] / name) for name in ("whole", "again"))
    assert first == second
    assert first[1][-1]["steps"] == 120


def test_sigterm_makes_all_ranks_save_the_same_step_and_exit_with_an_error(stopped):
    folder, status, output = stopped
    assert status != 0
    assert not (folder / "broken").exists()
    steps = re.findall(
        r"^stopped at step (\d+) by SIGTERM, checkpoint saved; start it again to continue$", output, re.MULTILINE
    )
    step = json.loads((folder / "broken.checkpoints/progress.json").read_text())["step"]
    assert steps == [str(step)] and 3 < step < 120, output
    state = {path.name for path in (folder / f"broken.checkpoints/state.{step}").iterdir()}
    assert {"random_states_0.pkl", "random_states_1.pkl", "optimizer.bin"} <= state


def rank_of(process: subprocess.Popen, rank: int) -> int:
    """Return the process id of one of the ranks that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    variable = f"RANK={rank}".encode()
    return next(
        int(child) for child in children if variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks up processes as Linux shows them")
def test_a_training_stopped_twice_ends_with_the_same_bits(stopped):
    """The second time SIGTERM reaches one rank alone, and the other must stop at the same step."""
    folder = stopped[0]
    process, before = start(folder, folder / "broken"), len(log_of(folder / "broken"))
    try:
        while process.poll() is None and len(log_of(folder / "broken")) <= before:
            time.sleep(0.01)
        os.kill(rank_of(process, 1), signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    finally:
        process.terminate()
    assert process.returncode != 0 and "SIGTERM, checkpoint saved" in output, output
    process = start(folder, folder / "broken")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert killed.outcome(folder / "broken") == killed.outcome(folder / "whole")
