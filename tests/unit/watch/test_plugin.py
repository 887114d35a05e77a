"""The logger plugin on a terminal and without one, with records like Snakemake's."""

import logging
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from screen import on_a_terminal
from snakemake_interface_logger_plugins.common import LogEvent

from led_pipeline.watch.run_file import Job, RunFile
from snakemake_logger_plugin_led import LogHandler, screens

SETTINGS = {"quiet": None, "debug_dag": False, "verbose": False, "printshellcmds": False, "show_failed_logs": True}
TRAINING = "led: step 200 of 1,000: loss 1.25, 90 queries/s, 04:00 left\n"


def run_of(folder: Path) -> RunFile:
    """Return a run with a training that has begun, and one that waits."""
    (folder / "led.log").write_text(TRAINING)
    jobs = [
        Job(n, "train", name, name, "", f"{folder}/{name}", f"{folder}/{name}.log")
        for n, name in ((1, "led"), (2, "lex"))
    ]
    return RunFile("results/demo", 0.0, "here", os.getpid(), ("led", "lex"), tuple(jobs))


def handler(**changes) -> LogHandler:
    settings = SimpleNamespace(**SETTINGS | {"nocolor": False, "dryrun": False, "stdout": False} | changes)
    return LogHandler(settings, None)


def record(event: LogEvent | None, message: str = "", **values) -> logging.LogRecord:
    result = logging.makeLogRecord({"msg": message, "levelno": logging.INFO, "levelname": "INFO"} | values)
    if event:
        result.event = event
    return result


def job_info(number: int) -> logging.LogRecord:
    empty = dict.fromkeys(("rule_msg", "benchmark", "reason"), "")
    lists = {name: ["file"] for name in ("input", "output", "log")}
    flags = {"local": False, "is_checkpoint": False, "priority": 0, "threads": 1, "wildcards": {}, "resources": {}}
    return record(LogEvent.JOB_INFO, jobid=number, rule_name="train", **empty, **lists, **flags)


def test_without_a_terminal_jobs_are_lines_and_a_failure_begins_with_its_reason(tmp_path, capsys):
    plugin = handler()
    plugin.watch(run_of(tmp_path), tmp_path / "estimates.json")
    plugin.emit(job_info(1))
    plugin.emit(record(None, "Select jobs to execute..."))
    plugin.emit(record(None, "Complete log(s): x.log"))
    (tmp_path / "led.log").write_text(TRAINING + "error: it diverged; lower learning_rate\n")
    plugin.emit(record(LogEvent.JOB_ERROR, jobid=1))
    plugin.emit(job_info(2))
    plugin.emit(record(LogEvent.JOB_FINISHED, job_id=2))
    plugin.emit(record(LogEvent.PROGRESS, done=1, total=2))
    plugin.close()
    text, _, end = capsys.readouterr().err.partition("results/demo: ")
    end = f"results/demo: {end}"
    lines = [line.partition(" ")[2] if line[2] == ":" else line for line in text.splitlines()]
    assert lines == [
        "start led train",
        "Complete log(s): x.log",
        "failed: train of led: it diverged; lower learning_rate",
        f"        log: {tmp_path}/led.log",
        "start lex train",
        "done  lex train in 0:00 (1 of 2)",
    ]
    assert "results/demo: 1 of 2 jobs, " in end and "stopped; run the same command again" in end  # as after Ctrl-C


def test_a_job_that_sbatch_refuses_fails_with_the_message_of_sbatch(tmp_path, capsys):
    plugin = handler()
    plugin.watch(run_of(tmp_path), tmp_path / "estimates.json")
    plugin.emit(job_info(2))
    message = "SLURM sbatch failed. The error message was 'invalid partition: gpu\nno job'.\n    sbatch call:"
    plugin.emit(record(LogEvent.JOB_ERROR, jobid=2, rule_msg=message))
    plugin.close()
    text = capsys.readouterr().err
    assert "failed: train of lex: SLURM sbatch failed. The error message was 'invalid partition: gpu no job'.\n" in text


@pytest.mark.parametrize("changes", [{"dryrun": True}, {"quiet": {"progress"}}])
def test_dry_runs_and_quiet_ones_print_what_snakemake_prints(tmp_path, capsys, changes):
    plugin = handler(**changes)
    plugin.watch(run_of(tmp_path), tmp_path / "estimates.json")
    plugin.emit(job_info(1))
    plugin.close()
    assert "rule train:\n    input: file" in capsys.readouterr().err


def test_a_view_that_fails_says_so_once_and_leaves_the_run_to_snakemake(tmp_path, capsys, monkeypatch):
    plugin = handler()
    plugin.watch(run_of(tmp_path), tmp_path / "estimates.json")
    monkeypatch.setattr(screens.Lines, "start", lambda self, number: 1 / 0)
    plugin.emit(job_info(1))
    plugin.emit(job_info(2))
    plugin.close()
    text = capsys.readouterr().err
    assert text.count("led: the view failed (ZeroDivisionError: division by zero)") == 1
    assert text.count("rule train:") == 2


def test_a_view_whose_thread_fails_does_the_same(tmp_path, capsys, monkeypatch):
    drawn = threading.Event()

    def draw(self):
        drawn.set()
        raise OSError("no room")

    monkeypatch.setattr(screens.Lines, "EVERY_S", 0.01)
    monkeypatch.setattr(screens.Lines, "draw", draw)
    plugin = handler()
    plugin.watch(run_of(tmp_path), tmp_path / "estimates.json")
    assert drawn.wait(10)
    plugin.thread.join()
    plugin.emit(job_info(1))
    text = capsys.readouterr().err
    assert text.count("led: the view failed (OSError: no room)") == 1 and "rule train:" in text


ON_A_TERMINAL = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_plugin import *
folder = Path({folder!r})
plugin = handler()
print("before")
run = run_of(folder)
plugin.watch(run, folder / "estimates.json")
plugin.emit(job_info(1))
time.sleep(1.5)
subprocess.run(["sh", "-c", "echo a job writes to the terminal >&2"])
plugin.emit(record(None, "a message of Snakemake"))
time.sleep(1.5)
plugin.emit(record(LogEvent.JOB_FINISHED, job_id=1))
plugin.leave(RunFile(**vars(run) | {{"ended": 60.0, "outcome": "failure"}}))
print("after")
"""


def test_on_a_terminal_the_view_is_redrawn_in_place_below_everything_else(tmp_path):
    program = ON_A_TERMINAL.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    command, texts = [sys.executable, "-c", program], []
    path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    for screen in on_a_terminal(command, env=os.environ | {"PYTHONPATH": path}):
        texts.append(screen.text)
    assert screen.status == 0, screen.text
    during = next(text for text in texts if "a message of Snakemake" in text and "▶ led" in text)
    lines = during.splitlines()
    assert lines[:3] == ["before", "a job writes to the terminal", "a message of Snakemake"]
    assert lines[3].startswith("results/demo: 0 of 2 jobs, ") and len(lines) == 7
    assert "200/1,000 steps  4:00 left  90 queries/s  loss 1.25" in lines[5]
    end = screen.text.splitlines()
    assert end[3].startswith("results/demo: 1 of 2 jobs, 1:00 elapsed, stopped") and end[4].startswith("✓ led")
    assert end[-1] == "after" and len(end) == 7


def test_what_was_written_and_not_shown_reaches_the_terminal_at_the_end(tmp_path):
    program = (
        "import os; from snakemake_logger_plugin_led.capture import Capture; capture = Capture();"
        "os.write(2, b'one'); assert capture.read() == ''; print(' two'); assert capture.read() == 'one two';"
        "os.write(1, b'three'); capture.end(); print(' four')"
    )
    *_, screen = on_a_terminal([sys.executable, "-c", program])
    assert (screen.text, screen.status) == ("three four", 0)
