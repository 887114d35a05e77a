"""The processes of a job on one machine: they listen on loopback only, and all end when one dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from led_pipeline.jobs import launch, locks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(sys.platform != "linux", reason="looks up processes and sockets as Linux shows them"),
]
# Two ranks that exchange a tensor, print that, and then sleep.
TALK = """
import os, time
import torch.distributed as dist
import torch
from led_pipeline.jobs.command import run_main

def main():
    dist.init_process_group("gloo")
    numbers = torch.ones(3)
    dist.all_reduce(numbers)
    os.write(1, f"rank {os.environ['RANK']} {os.getpid()} {int(numbers[0])}\\n".encode())
    time.sleep(600)

run_main(main)
"""


@pytest.fixture
def talking(tmp_path, monkeypatch):
    """Start two ranks on simulated GPUs; return the agent (the launcher's process) and the ranks' ids."""
    (tmp_path / "talk.py").write_text(TALK)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    (tmp_path / "tmp").mkdir()
    variables = {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "tmp"), "CUDA_VISIBLE_DEVICES": "5,6"}
    monkeypatch.setattr(launch.tempfile, "tempdir", str(tmp_path / "tmp"))
    command = [sys.executable, "-m", "led_pipeline.jobs.launch", "--gpu", "2", "--threads", "2", "--", "talk"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
    lines = []
    while len(lines) < 2 and (line := process.stdout.readline()):
        lines += [line.split()] if line.startswith("rank") else []
    assert [line[3] for line in lines] == ["2", "2"], "they have reached each other"
    yield process, [int(line[2]) for line in sorted(lines)]
    process.kill()
    process.communicate()


def listening(process: int) -> set[tuple[str, str]]:
    """Return the protocols and addresses, in /proc's notation, on which a process listens."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        target = str(entry.readlink())
        sockets |= {target[8:-1]} if target.startswith("socket:[") else set()
    addresses = set()
    for protocol in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # LISTEN
                addresses.add((protocol, fields[1].partition(":")[0]))
    return addresses


def within(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def free(device: str, byte: int | None = None) -> bool:
    """Return whether nobody holds a device, or a byte of its lock file."""
    file = locks.open_lock(launch.lock_folder() / launch.lock_name(device))
    try:
        return locks.take(file, byte)
    finally:
        os.close(file)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path != launch.lock_folder()]


def test_a_job_listens_on_the_loopback_interface_only_and_a_killed_agent_ends_its_ranks(talking, tmp_path):
    agent, ranks = talking
    addresses = [listening(process) for process in (agent.pid, *ranks)]
    assert all(addresses), "the agent's store and each rank's gloo"
    assert set.union(*addresses) == {("tcp", "0100007F")}, "127.0.0.1"
    # The agent and every rank hold both devices independently, so that the last of them releases them.
    assert [free(device, byte) for device in "56" for byte in range(4)] == [False, False, False, True] * 2
    agent.kill()
    agent.wait()
    assert all(within(lambda rank=rank: ended(rank)) for rank in ranks)
    assert within(lambda: free("5") and free("6"))
    assert left_in(tmp_path / "tmp") == []


def test_a_killed_rank_ends_the_job(talking, tmp_path):
    agent, ranks = talking
    os.kill(ranks[1], signal.SIGKILL)
    assert agent.wait(timeout=60) != 0
    assert within(lambda: ended(ranks[0]))
    assert within(lambda: free("5") and free("6"))
    assert left_in(tmp_path / "tmp") == []
