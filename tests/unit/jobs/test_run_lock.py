"""Run lock: a killed run's lock is removed; the lock of a live, a remote or an unrelated run stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from led_pipeline.files import atomic
from led_pipeline.jobs.run_lock import Run

ROOT = "results/x"
# A run that takes Snakemake's lock, as Snakemake does after reading the Snakefile, and then waits.
RUN = """
import sys, time
from pathlib import Path
from led_pipeline.jobs.run_lock import Run
run = Run(sys.argv[1])
lock = Path(".snakemake/locks/0.output.lock")
lock.parent.mkdir(exist_ok=True)
lock.write_text(f"{sys.argv[1]}/report/index.html\\n")
if len(sys.argv) > 2:
    run.started(sys.argv[2])
print("runs", flush=True)
time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 600)
"""


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".snakemake"


def start(*arguments: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", RUN, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "runs\n"
    return process


def killed(*arguments: str) -> None:
    process = start(*arguments)
    process.kill()
    process.wait()


def names(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.suffix in (".lock", ".run") and "guard" not in path.name
    )


@pytest.mark.parametrize("executor", [(), ("local",)])
def test_the_lock_of_a_killed_run_is_removed_with_a_message(state, executor, capsys):
    killed(ROOT, *executor)
    run = Run(ROOT)
    assert names(state / "locks") == [] and names(state / "led") == [run.path.name]
    assert capsys.readouterr().err == ".snakemake/locks/0.output.lock: removed the lock of a killed run on results/x\n"


def test_the_lock_of_a_live_run_stays_however_many_were_killed_beside_it(state, capsys):
    process = start(ROOT, "local")
    for _ in range(2):
        killed(ROOT)
        Run(ROOT)
        assert names(state / "locks") == ["0.output.lock"]
    assert f"(process {process.pid} on" in capsys.readouterr().err
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(names(state / "led")) > 2
    Run(ROOT)
    assert names(state / "locks") == []


def test_a_run_that_ends_by_itself_leaves_no_file(state):
    start(ROOT, "local", "0").wait()
    assert names(state / "led") == []


def test_other_data_sets_and_other_workflows_keep_their_locks(state):
    killed("results/y")
    killed("results/xx")
    (state / "locks/1.output.lock").write_text("results/xx/report/index.html\n")
    (state / "locks/2.input.lock").write_text("mine/results/x/a\n")
    Run(ROOT)
    assert names(state / "locks") == ["0.output.lock", "1.output.lock", "2.input.lock"]


def test_a_lock_from_before_the_killed_run_is_not_its_own(state):
    (state / "locks").mkdir(parents=True)
    old = state / "locks/7.output.lock"
    old.write_text(f"{ROOT}/report/index.html\n")
    os.utime(old, (time.time() - 1_000,) * 2)
    killed(ROOT)
    Run(ROOT)
    assert names(state / "locks") == ["7.output.lock"]


def changed(state: Path, **values) -> None:
    path = next((state / "led").glob("*.run"))
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_on_another_machine_keeps_its_lock(state, capsys):
    killed(ROOT, "local")
    changed(state, host="other", boot="other", machine="other")
    Run(ROOT)
    assert names(state / "locks") == ["0.output.lock"]
    assert "cannot be checked from this machine; if it has ended: snakemake --unlock" in capsys.readouterr().err


def test_this_machine_is_recognised_after_a_reboot(state):
    killed(ROOT, "local")
    changed(state, boot="of yesterday")
    if Path("/etc/machine-id").exists():
        Run(ROOT)
        assert names(state / "locks") == []


def test_jobs_that_slurm_may_still_compute_are_left_to_the_user(state, capsys):
    killed(ROOT, "slurm")
    run = Run(ROOT)
    assert names(state / "locks") == ["0.output.lock"]
    assert "was killed, and its jobs may still be running (slurm); cancel them" in capsys.readouterr().err
    (state / "locks/0.output.lock").unlink()  # snakemake --unlock
    run.path.unlink()
    again = Run(ROOT)
    assert names(state / "led") == [again.path.name]


def test_with_a_note_truncated_by_a_power_loss_nothing_is_removed(state):
    killed(ROOT, "local")
    next((state / "led").glob("*.run")).write_text("")
    Run(ROOT)
    assert names(state / "locks") == ["0.output.lock"]


# --- unfinished files


def test_unfinished_files_of_processes_that_have_ended_are_removed_and_no_others(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from led_pipeline.files.atomic import atomic\n"
        "with atomic(Path(sys.argv[1], 'model')) as t, atomic(Path(sys.argv[1], 'table')) as u:\n"
        "    t.mkdir(); (t / 'weights').write_text('half'); u.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    other = tmp_path / f".far.{'0' * 8}-1-{'1' * 8}.part"
    other.write_text("of another machine, of now")
    old = tmp_path / f".far.{'0' * 8}-1-{'2' * 8}.part"
    old.write_text("of another machine, of a week ago")
    os.utime(old, (time.time() - 7 * 86_400,) * 2)
    (tmp_path / ".x.part").write_text("no name of ours")
    with atomic.atomic(tmp_path / "mine") as mine:
        mine.write_text("this process lives")
        removed = atomic.remove_unfinished(tmp_path)
    assert sorted(path.name.split(".")[1] for path in removed) == ["far", "model", "table"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, ".x.part", "mine"])
