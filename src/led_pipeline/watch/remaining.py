"""Remaining: how long a run still takes, from the estimates of `led plan` and what this run has measured so far.

A waiting job takes its estimate, times measured over estimated seconds of the jobs of its rule so far (of all rules,
where its own has none); without an estimate, it takes the mean of its rule. A running job takes what its log states.
The remaining jobs are then placed on the run's cores and GPUs, each after those that it waits for.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.files.reading import read_json
from led_pipeline.jobs.placement import makespan
from led_pipeline.watch.run_file import Job
from led_pipeline.watch.state import JobState, RunState

Seconds = Mapping[str, Mapping[str, float]]  # rule -> stage or system -> estimated seconds of one job


def read_estimates(path: Path) -> Seconds:
    """Return the estimates that the preflight wrote; none if there is no such file yet."""
    seconds: Seconds = read_json(path)["seconds"] if path.is_file() else {}
    return seconds


@dataclass(frozen=True)
class Remaining:
    """Seconds that a run still takes."""

    seconds: float
    unknown: int
    """Jobs about which nothing is known; they count as 0 seconds."""


class Expectation:
    """What jobs of a run take."""

    def __init__(self, state: RunState, estimates: Seconds):
        self._estimates = estimates
        self._means: dict[str, list[float]] = defaultdict(list)
        measured: dict[str, list[tuple[float, float]]] = defaultdict(list)  # rule -> (measured, estimated) seconds
        for each in state.jobs:
            seconds = self._measured(each, state.now)
            if seconds is not None:
                self._means[each.job.rule].append(seconds)
                if estimate := self._estimate(each.job):
                    measured[each.job.rule].append((seconds, estimate))
        self._factors = {rule: _ratio(pairs) for rule, pairs in measured.items()}
        self._overall = _ratio([pair for pairs in measured.values() for pair in pairs])

    @staticmethod
    def _measured(state: JobState, now: float) -> float | None:
        """Return the seconds of a finished job, or of a running one as its log expects them."""
        if state.status == "done":
            return state.seconds(now)
        left = state.seconds_left if state.status == "running" else None
        return None if left is None else state.seconds(now) + left

    def _estimate(self, job: Job) -> float | None:
        return self._estimates.get(job.rule, {}).get(job.owner)

    def seconds(self, job: Job) -> float | None:
        """Return the expected seconds of a job; None if nothing is known about it."""
        if (estimate := self._estimate(job)) is not None:
            return estimate * self._factors.get(job.rule, self._overall)
        means = self._means.get(job.rule)
        return sum(means) / len(means) if means else None


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(measured for measured, _ in pairs) / sum(estimate for _, estimate in pairs) if pairs else 1.0


def remaining(state: RunState, estimates: Seconds) -> Remaining | None:
    """Return how long a run still takes; None as long as nothing is known about any of its jobs."""
    expectation = Expectation(state, estimates)
    left: dict[int, float] = {}
    unknown = 0
    for each in state.jobs:
        if each.status in ("waiting", "running"):
            seconds = each.seconds_left if each.status == "running" else None
            if seconds is None and (expected := expectation.seconds(each.job)) is not None:
                seconds = max(0.0, expected - each.seconds(state.now))
            unknown += seconds is None
            left[each.job.id] = seconds or 0.0
    if left and unknown == len(left):
        return None
    running = {each.job.id for each in state.jobs if each.status == "running"}
    jobs = [each.job for each in state.jobs if each.job.id in left]
    return Remaining(makespan(jobs, left, running, state.run.cores, state.run.gpus), unknown)
