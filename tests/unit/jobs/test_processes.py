"""Processes: a job ends with its parent, through every layer of processes, and no sooner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from led_pipeline.jobs import processes

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tie a process to its parent")
# A command of ours that starts a program and waits for it, and prints both process ids.
COMMAND = """
import os, subprocess, sys
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.processes import tied

def main():
    program = subprocess.Popen(tied(["sleep", "600"]))
    print(os.getpid(), program.pid, flush=True)
    program.wait()

run_main(main)
"""


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(numbers: list[int], within_s: float = 10) -> list[int]:
    """Wait until processes have ended; return those that have not."""
    end = time.monotonic() + within_s
    while (left := [number for number in numbers if lives(number)]) and time.monotonic() < end:
        time.sleep(0.02)
    for number in left:
        os.kill(number, signal.SIGKILL)
    return left


def job(tmp_path: Path, tail: str = "") -> tuple[subprocess.Popen, list[int]]:
    """Start a process that starts a shell as Snakemake does, with the prefix of common.smk.

    The shell runs the command above. `tail` follows it, so that the shell cannot become the command by exec.

    Returns:
        The process, and the ids of the shell, the command and the program.
    """
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    tie = f". {ROOT / 'workflow/scripts/tied.sh'} {sys.executable}"
    starter = (
        "import os, subprocess, sys\n"
        f"command = {tie!r} + f' {{os.getpid()}}; echo $$; ' + sys.argv[1]\n"
        "subprocess.run(command, shell=True, executable='/bin/bash')\n"
    )
    command = [sys.executable, "-c", starter, f"{sys.executable} {script}{tail}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    shell = int(process.stdout.readline())
    return process, [shell, *map(int, process.stdout.readline().split())]


@linux
@pytest.mark.parametrize("tail", ["", "; true"])
def test_killing_snakemake_ends_the_shells_commands_and_programs_of_its_jobs(tmp_path, tail):
    process, numbers = job(tmp_path, tail)
    assert all(map(lives, numbers))
    process.kill()
    process.wait()
    assert ended(numbers) == []


@linux
@pytest.mark.parametrize("layer", [0, 1])
def test_killing_a_layer_ends_those_below_it(tmp_path, layer):
    process, numbers = job(tmp_path, "; true")
    os.kill(numbers[layer], signal.SIGKILL)
    assert ended(numbers) == []
    assert process.wait(timeout=10) == 0, "the one that started the job has seen it end"


def test_a_shell_that_is_tied_runs_its_command_once_and_passes_its_status_on(tmp_path):
    tie = f". {ROOT / 'workflow/scripts/tied.sh'} {sys.executable} {os.getpid()}; "
    command = "echo \"one 'two' $((1 + 2))\"; exit 7"
    answer = subprocess.run(tie + command, shell=True, executable="/bin/bash", capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "one 'two' 3\n", "")
    script = tmp_path / "script.sh"  # how Snakemake runs a long command
    script.write_text(tie + command)
    answer = subprocess.run(
        f'"/bin/bash" "{script}"', shell=True, executable="/bin/bash", capture_output=True, text=True
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "one 'two' 3\n", "")


def test_a_command_may_finish_cleanly_after_sigterm_to_all_processes_of_its_job(tmp_path):
    tie = f". {ROOT / 'workflow/scripts/tied.sh'} {sys.executable} {os.getpid()}; set -euo pipefail; "
    code = (
        "import signal, sys, time; from led_pipeline.jobs.processes import end_with_parent; end_with_parent()\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print('kept', flush=True), sys.exit(3)))\n"
        "print('works', flush=True); time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "CODE": code}
    command = f'{tie} {sys.executable} -c "$CODE"'
    options = {"stdout": subprocess.PIPE, "text": True, "env": environment, "process_group": 0}
    process = subprocess.Popen(["/bin/bash", "-c", command], **options)
    assert process.stdout.readline() == "works\n"
    os.killpg(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "kept\n"
    assert process.returncode == 3


def test_a_process_whose_parent_has_ended_already_does_not_start(tmp_path):
    parent = subprocess.Popen(["true"])
    parent.wait()
    command = [sys.executable, "-I", "-S", processes.__file__, str(parent.pid), "touch", str(tmp_path / "ran")]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1 and "which started this one, has ended" in answer.stderr
    assert not (tmp_path / "ran").exists()


@linux
def test_a_command_started_by_hand_outlives_the_shell(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    starter = subprocess.Popen(
        ["bash", "-c", f"{sys.executable} {script} & wait"],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != processes.PARENT},
    )
    numbers = list(map(int, starter.stdout.readline().split()))
    starter.kill()
    starter.wait()
    time.sleep(0.2)
    assert all(map(lives, numbers))
    os.kill(numbers[0], signal.SIGKILL)
    assert ended(numbers) == [], "but what it has started ends with it"


@linux
def test_a_command_is_tied_before_it_has_imported_anything(tmp_path):
    """Importing torch may take half a minute; a command killed meanwhile must not go on."""
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "python"
    slow.write_text('#!/bin/sh\necho "$$ $*"\nexec sleep 600\n')
    slow.chmod(0o755)
    tie = f". {ROOT / 'workflow/scripts/tied.sh'} {sys.executable} {os.getpid()}; "
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    command = tie + "NAME=value python -m module 'x y'; true"
    options = {"stdout": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen(["/bin/bash", "-c", command], **options)
    assert process.stdout.readline().startswith("+ python -m module 'x y'  # 20"), "first, what a log begins with"
    number, arguments = process.stdout.readline().split(maxsplit=1)
    assert arguments == "-m module x y\n"
    process.kill()
    process.wait()
    assert ended([int(number)]) == []


def test_a_missing_program_is_a_one_line_error():
    answer = subprocess.run(processes.tied(["no-such-program"]), capture_output=True, text=True)
    assert answer.returncode == 1 and answer.stderr == "no-such-program: No such file or directory\n"


@pytest.mark.parametrize("module", ["launch", "loopback"])
def test_ctrl_c_ends_a_command_whose_imports_swallow_exceptions(tmp_path, module):
    """torch's own import swallowed Ctrl-C at 2 of 80 random moments: the training then ran to its end."""
    swallowing = (
        "import time\nprint('importing', flush=True)\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "argparse.py").write_text(swallowing)  # launch imports it at its start, and torch
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    hearing = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    command = [sys.executable, "-m", f"led_pipeline.jobs.{module}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **hearing) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
