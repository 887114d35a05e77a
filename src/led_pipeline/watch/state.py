"""State: how far each job and each stage of a run is, from the outputs and logs of its jobs.

A job whose output is newer than the run is done. One with a log that is newer than the run, and no such output, is
running, or failed if the log ends with an error. `Tracker` looks at finished jobs once, and asks Snakemake's events
instead of the disk where it gets them.
"""

import re
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Literal

from led_pipeline.jobs import progress
from led_pipeline.watch.run_file import FIRST, LAST, Job, RunFile

Status = Literal["waiting", "running", "done", "failed"]
TAIL = 65_536  # bytes at the end of a log that are read
SLACK_S = 2.0  # clocks of file systems
END_LINES = 3  # of the log of a job that failed without a reason
_COMMAND = re.compile(r"^\+ .*  # (\S+)$")  # jobs/processes.py writes it
_VALIDATION = re.compile(r"^\S+: step [\d,]+: validation (\S+ [\d.]+)")
_LOSS = re.compile(r"\bloss ([\d.eE+-]+)")
_WARNING = re.compile(r"^\S+: warning: (.*)")
_RANK_FAILED = "ChildFailedError"  # torchrun's exception, with lines of its own around it
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception|Interrupt)(?:: .*)?$")


@dataclass(frozen=True)
class JobState:
    """A job and how far it is; times are seconds since the epoch."""

    job: Job
    status: Status
    started: float | None = None
    ended: float | None = None
    reached: progress.Reached | None = None
    loss: str = ""
    validation: str = ""
    """The newest one: a measure and its value."""
    warnings: tuple[str, ...] = ()
    error: str = ""
    """Why it failed."""

    def seconds(self, now: float) -> float:
        """Return how long it runs, or ran."""
        return max(0.0, (self.ended or now) - self.started) if self.started else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The remaining seconds as its log states them."""
        return self.reached.seconds_left if self.reached else None

    @property
    def share(self) -> float:
        """The share of its work that is done, 0 to 1, as far as its log says."""
        return 1.0 if self.status == "done" else self.reached.share if self.reached else 0.0


@dataclass(frozen=True)
class StageState:
    """All jobs of a stage."""

    name: str
    jobs: tuple[JobState, ...]

    def count(self, *statuses: Status) -> int:
        return sum(state.status in statuses for state in self.jobs)

    @property
    def status(self) -> Status:
        if self.count("failed"):
            return "failed"
        if self.count("done") == len(self.jobs):
            return "done"
        return "running" if self.count("running", "done") else "waiting"

    @property
    def running(self) -> list[JobState]:
        return [state for state in self.jobs if state.status == "running"]

    def seconds(self, now: float) -> float:
        """Return the time from the start of its first job to the end of its last one so far."""
        starts = [state.started for state in self.jobs if state.started]
        ends = [state.ended or now for state in self.jobs if state.started]
        return max(ends) - min(starts) if starts else 0.0


@dataclass(frozen=True)
class RunState:
    """A run and how far it is."""

    run: RunFile
    stages: tuple[StageState, ...]
    now: float

    @property
    def jobs(self) -> list[JobState]:
        return [state for stage in self.stages for state in stage.jobs]

    @property
    def elapsed(self) -> float:
        """The seconds from its start to its end; of a killed run, to the last sign of a job."""
        end = self.run.ended or self.now
        if self.run.ended is None and self.run.alive is False:
            end = max((each.ended or each.started or 0.0 for each in self.jobs), default=0.0)
        return max(0.0, end - self.run.started)

    @property
    def gpus(self) -> int:
        """GPUs that running jobs hold."""
        return sum(state.job.gpus for state in self.jobs if state.status == "running")


def _modified(path: str) -> float | None:
    try:
        return Path(path).stat().st_mtime if path else None
    except OSError:
        return None


def _started(log: Path, otherwise: float) -> float:
    """Return when a job started: its log begins with its command and the time."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            match = _COMMAND.match(file.readline(1_000_000).rstrip("\n"))
        return datetime.fromisoformat(match[1]).timestamp() if match else otherwise
    except (OSError, ValueError):
        return otherwise


def tail(log: Path) -> list[str]:
    """Return the last lines of a log; none if there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def reason(lines: list[str], message: str | None = None) -> str:
    """Return why a job failed: its error, what the preflight calls fatal, an exception, the executor, its log's end.

    Args:
        lines: the end of the job's log.
        message: what Snakemake's executor says, such as the refusal of sbatch or the job's state in SLURM.
    """
    if errors := [number for number, line in enumerate(lines) if line.startswith("error: ")]:
        error, *details = [lines[errors[-1]].removeprefix("error: "), *lines[errors[-1] + 1 :]]
        # A heading such as "FILE could not be downloaded:" is no reason without its first line.
        return f"{error} {details[0].strip()}" if error.endswith(":") and details else error
    if fatal := [" ".join(line.split()[1:]) for line in lines if line.startswith("fatal ")]:
        return "; ".join(fatal)
    if exceptions := [line for line in lines if _EXCEPTION.match(line) and _RANK_FAILED not in line]:
        return exceptions[-1]
    if message:  # lines that are indented show the call
        return " ".join(takewhile(lambda line: not line.startswith(" "), message.strip().splitlines()))
    return "; ".join([line.strip() for line in lines if line.strip() and not line.startswith("+ ")][-END_LINES:])


def _running(job: Job, since: float) -> JobState:
    """Return how far a job is that has a log, and failed if the log ends with an error."""
    lines = tail(Path(job.log))
    ended = any(line.startswith("error: ") or _RANK_FAILED in line for line in lines)
    ended = ended or bool(lines and _EXCEPTION.match(lines[-1]))
    validations = [match[1] for line in lines if (match := _VALIDATION.match(line))]
    reached = progress.last(lines)
    loss = _LOSS.search(reached.rest) if reached else None
    return JobState(
        job,
        "failed" if ended else "running",
        _started(Path(job.log), since),
        _modified(job.log) if ended else None,
        reached,
        loss[1] if loss else "",
        validations[-1] if validations else "",
        tuple(match[1] for line in lines if (match := _WARNING.match(line))),
        reason(lines) if ended else "",
    )


def job_state(job: Job, since: float) -> JobState:
    """Return how far a job of a run is that started at `since`."""
    output, log = _modified(job.output), _modified(job.log)
    is_new = log is not None and log >= since - SLACK_S
    if output is not None and output >= since - SLACK_S:
        return JobState(job, "done", _started(Path(job.log), output) if is_new else output, output)
    return _running(job, log or since) if is_new else JobState(job, "waiting")


class Tracker:
    """Follows a run; a job that is done is never looked at again.

    Args:
        by_events: whether `start`, `finish` and `fail` are called for every job, as the logger plugin does; otherwise
            the files of all jobs that are not done are looked at.
    """

    def __init__(self, run: RunFile, by_events: bool = False):
        self.run, self.by_events = run, by_events
        self.by_id = {job.id: job for job in run.jobs}
        self.final: dict[int, JobState] = {}
        self._waiting = {job.id: JobState(job, "waiting") for job in run.jobs}
        self.running: dict[int, float] = {}
        self.over = False

    def start(self, number: int) -> None:
        """Note that a job has started, perhaps again after it failed."""
        if number in self.by_id:
            self.final.pop(number, None)
            self.running[number] = time.time()

    def finish(self, number: int) -> JobState | None:
        """Note that a job is done."""
        return self._end(number, "done")

    def fail(self, number: int, message: str | None = None) -> JobState | None:
        """Note that a job has failed, perhaps with a message of the executor; return its state with the reason."""
        return self._end(number, "failed", message)

    def _end(self, number: int, status: Status, message: str | None = None) -> JobState | None:
        job, started = self.by_id.get(number), self.running.pop(number, None)
        if job is None:
            return None
        error = reason(tail(Path(job.log)), message) if status == "failed" else ""
        self.final[number] = JobState(job, status, started or time.time(), time.time(), error=error)
        return self.final[number]

    def _state(self, job: Job) -> JobState:
        if job.id in self.final:
            return self.final[job.id]
        if self.by_events:
            started = self.running.get(job.id)
            if started is None:
                return self._waiting[job.id]
            modified = _modified(job.log)
            if modified is None or modified < started - SLACK_S:  # on a cluster it may wait for a node
                return JobState(job, "running", started)
            return replace(_running(job, started), status="running", ended=None)
        state = job_state(job, self.run.started)
        if state.status == "running" and self.over:
            state = replace(state, status="failed", ended=_modified(job.log), error="stopped before its end")
        if state.status == "done":
            self.final[job.id] = state
        return state

    def look(self, now: float | None = None) -> RunState:
        """Return the state; stages come in the order of the recipe, data first and evaluation last."""
        self.over = self.run.alive is False and not self.run.left_jobs
        grouped: dict[str, list[JobState]] = defaultdict(list)
        for job in self.run.jobs:
            if job.output:
                grouped[job.stage].append(self._state(job))
        order = [FIRST, *self.run.stages, *(name for name in grouped if name not in self.run.stages), LAST]
        last = grouped.pop(LAST, [])
        stages = [(name, grouped.pop(name)) for name in order if name in grouped]
        stages += [(LAST, last)] if last else []
        return RunState(self.run, tuple(StageState(name, tuple(jobs)) for name, jobs in stages), now or time.time())
