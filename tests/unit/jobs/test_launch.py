"""The launcher: devices are leased to one process at a time, and a module runs with the given arguments."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import launch, processes

pytestmark = pytest.mark.pipeline  # they start programs

# Holds devices for a moment and prints which, from when to when (all processes share the machine's monotonic clock).
HOLDER = """
import json, os, sys, time
from pathlib import Path
from led_pipeline.jobs import launch, processes
launch.POLL_S = 0.01
folder, count, devices = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
seconds, rounds = map(float, sys.argv[4:])
for _ in range(int(rounds)):
    held = launch.lease(count, devices, folder)
    start = time.monotonic()
    print(json.dumps([list(held), start]), flush=True)
    time.sleep(seconds)
    print(json.dumps([list(held), start, time.monotonic()]), flush=True)
    for file in held.values():
        os.close(file)
"""


def hold(folder: Path, count: int, devices: str, seconds: float, rounds: int = 1) -> subprocess.Popen:
    arguments = [str(folder), str(count), devices, str(seconds), str(rounds)]
    return subprocess.Popen([sys.executable, "-c", HOLDER, *arguments], stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen) -> list:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def test_no_device_is_held_by_two_processes_at_once(tmp_path):
    processes = [hold(tmp_path, count, "a,b,c,d", 0.02, rounds=4) for count in (1, 1, 2, 2, 3, 4)]
    held = [line for process in processes for line in lines(process) if len(line) == 3]
    assert Counter(len(devices) for devices, _, _ in held) == {1: 8, 2: 8, 3: 4, 4: 4}
    for device in "abcd":
        times = sorted((start, stop) for devices, start, stop in held if device in devices)
        assert len(times) >= 4, "at least by the process that takes all of them"
        assert all(stop <= start for (_, stop), (start, _) in pairwise(times)), f"two held {device}"


def test_two_jobs_of_half_the_devices_run_side_by_side(tmp_path):
    first, second = hold(tmp_path, 2, "a,b,c,d", 1), hold(tmp_path, 2, "a,b,c,d", 1)
    (one, *times), (two, *others) = lines(first)[1], lines(second)[1]
    assert sorted(one + two) == list("abcd")
    assert max(times[0], others[0]) < min(times[1], others[1])


def test_a_job_waits_for_all_its_devices_and_holds_none_of_them_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "POLL_S", 0.01)
    held = launch.lease(1, ["a", "b"], tmp_path)
    waiting = hold(tmp_path, 2, "a,b", 0)
    time.sleep(0.5)
    free = launch.lease(1, ["b"], tmp_path)  # does not block: the other job waits without holding b
    assert waiting.poll() is None
    for file in (*held.values(), *free.values()):
        os.close(file)
    assert sorted(lines(waiting)[1][0]) == ["a", "b"]


def test_a_killed_process_releases_its_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "POLL_S", 0.01)
    process = hold(tmp_path, 2, "a,b", 60)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    started = time.monotonic()
    assert list(launch.lease(2, ["a", "b"], tmp_path)) == ["a", "b"]
    assert time.monotonic() - started < 5


def test_too_many_devices_are_an_error_and_not_an_endless_wait(tmp_path):
    with pytest.raises(InputError, match=r"asks for 3 GPUs and 2 are visible; lower resources\.\*\.gpu"):
        launch.lease(3, ["0", "1"], tmp_path)


def test_jobs_of_slurm_keep_their_locks_to_themselves(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    everywhere = launch.lock_folder()
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert launch.lock_folder() == everywhere.with_name(f"{everywhere.name}-17")
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert launch.lock_folder() == everywhere.with_name(f"{everywhere.name}-17-1"), "on each of its nodes"


def test_torchrun_starts_one_process_per_device_on_this_machine():
    command = launch.torchrun_command("led_pipeline.training.train", ["--out", "x y"], count=4)
    assert command[:3] == [sys.executable, "-m", "led_pipeline.jobs.loopback"]
    rank = [sys.executable, "-u", "-m", "led_pipeline.training.train", "--out", "x y"]
    assert command[3:] == ["--log-dir=/dev/null", "--nproc-per-node=4", "--no-python", *processes.tied(rank)]


def test_on_several_nodes_the_processes_meet_at_the_node_that_called_srun(monkeypatch):
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7")
    command = launch.torchrun_command("led_pipeline.training.train", [], count=8, nodes=2, port=20_017)
    meeting = ["--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.7", "--master-port=20017"]
    assert command[2:] == [
        "torch.distributed.run", *meeting, "--log-dir=/dev/null", "--nproc-per-node=8", "--no-python",
        *processes.tied([sys.executable, "-u", "-m", "led_pipeline.training.train"]),
    ]  # fmt: skip


# --- the command


def module_path(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def run(tmp_path):
    """Run the launcher with a module that prints its arguments and environment."""
    (tmp_path / "probe.py").write_text(
        "import json, os, sys\n"
        "names = ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'RANK', 'WORLD_SIZE')\n"
        "line = json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in names}]) + '\\n'\n"
        "os.write(1, line.encode())  # one call, so that the lines of two processes cannot interleave\n"
        "sys.exit(int(sys.argv[1]))\n"
    )

    def call(*arguments: str, devices: str = "") -> tuple[int, list, str]:
        environment = os.environ | {
            "PYTHONPATH": module_path(tmp_path),
            "TMPDIR": str(tmp_path),
            "CUDA_VISIBLE_DEVICES": devices,
        }
        command = [sys.executable, "-m", "led_pipeline.jobs.launch", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, env=environment)
        calls = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("[")]
        return answer.returncode, calls, answer.stdout + answer.stderr

    return call


def test_a_plain_job_runs_once_with_the_leased_devices_and_its_exit_status(run):
    status, calls, text = run("--gpu", "2", "--threads", "6", "--plain", "--", "probe", "3", "--x", devices="5,6,7")
    assert status == 3
    assert calls == [
        [["3", "--x"], {"CUDA_VISIBLE_DEVICES": "5,6", "OMP_NUM_THREADS": "6", "RANK": None, "WORLD_SIZE": None}]
    ]
    assert text.startswith(f"+ {sys.executable} -m probe 3 --x\n"), "the log shows the command"


def test_a_job_without_a_gpu_runs_as_one_torchrun_process_that_sees_none(run):
    status, calls, _ = run("--gpu", "0", "--threads", "4", "--", "probe", "0", devices="5,6")
    assert status == 0
    assert calls == [[["0"], {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4", "RANK": "0", "WORLD_SIZE": "1"}]]


@pytest.mark.parametrize(("gpu", "threshold"), [("0", "4294967296"), ("1", None)])
def test_jobs_on_the_cpu_keep_freed_memory_instead_of_returning_it_to_the_kernel(run, tmp_path, gpu, threshold):
    (tmp_path / "memory.py").write_text("import os\nprint('trim at', os.environ.get('MALLOC_TRIM_THRESHOLD_'))\n")
    status, _, text = run("--gpu", gpu, "--plain", "--", "memory", devices="5")
    assert status == 0 and f"trim at {threshold}\n" in text


@pytest.mark.parametrize(("order", "expected"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_devices_have_the_numbers_of_nvidia_smi_unless_the_user_orders_them(
    run, tmp_path, monkeypatch, order, expected
):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    (tmp_path / "order.py").write_text("import os\nprint('order', os.environ['CUDA_DEVICE_ORDER'])\n")
    _, _, text = run("--gpu", "1", "--plain", "--", "order", devices="5")
    assert f"order {expected}\n" in text


def test_two_processes_share_the_threads_and_a_failure_is_passed_on(run):
    status, calls, _ = run("--gpu", "2", "--threads", "4", "--", "probe", "1", devices="5,6,7")
    assert status == 1
    assert {entry[1]["RANK"] for entry in calls} <= {"0", "1"} and calls
    assert {(e[1]["CUDA_VISIBLE_DEVICES"], e[1]["OMP_NUM_THREADS"], e[1]["WORLD_SIZE"]) for e in calls} == {
        ("5,6", "2", "2")
    }


def test_a_running_job_holds_its_devices_until_it_ends(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "sleeper.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    environment = os.environ | {"PYTHONPATH": module_path(tmp_path), "CUDA_VISIBLE_DEVICES": "5"}
    command = [sys.executable, "-m", "led_pipeline.jobs.launch", "--gpu", "1", "--plain", "--", "sleeper"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert [process.stdout.readline() for _ in range(2)][1] == "here\n"
    folder = next(tmp_path.glob("led-gpus-*"))
    assert launch._try_lock(folder / "gpu-5.lock") is None, "the lock outlives the launcher's change into the job"
    process.kill()
    process.wait()
    assert launch._try_lock(folder / "gpu-5.lock") is not None


def test_too_many_gpus_are_a_short_error(run):
    status, _, text = run("--gpu", "2", "--", "probe", "0", devices="5")
    assert status == 2
    assert text.startswith("error: this job asks for 2 GPUs and 1 are visible;") and "Traceback" not in text


def test_several_nodes_start_the_launcher_once_on_each(run, tmp_path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 4\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "10017")
    status, _, text = run("--nodes", "2", "--gpu", "8", "--threads", "16", "--", "probe", "x y")
    assert status == 4
    options = ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=16", "--kill-on-bad-exit=1"]
    again = [sys.executable, "-m", "led_pipeline.jobs.launch", "--port=20017", "--nodes", "2", "--gpu", "8"]
    assert text.splitlines()[1:] == [*options, *again, "--threads", "16", "--", "probe", "x y"]


def test_several_nodes_without_slurm_are_a_short_error(run, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    status, _, text = run("--nodes", "2", "--gpu", "8", "--", "probe")
    assert status == 2
    assert text.startswith("error: this job asks for 2 nodes, which only SLURM provides; run with --profile")


@pytest.mark.parametrize("command", [[], ["--"]])
def test_a_job_without_a_module_is_an_error(run, command):
    status, _, text = run("--gpu", "0", *command)
    assert status == 2
    assert "name the module to run after --" in text
