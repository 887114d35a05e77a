"""Progress: lines in a job's log that say how far it is, for people, `led status` and the view of a run.

A line is `encode: 4,096 of 12,000 passages, 512/s, 0:15 left`; trainings and downloads write lines of the same kind.
`last` gets the newest one back from a log.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

EVERY_S = 5.0  # between two lines
_LINE = re.compile(
    r"^\S+: (?P<step>step )?(?P<done>\d[\d,.]*) of (?P<total>\d[\d,.]*)"
    r"(?: (?P<unit>\w+))?(?: \(\d+ %\))?[,:]\s*(?P<rest>.*)"
)
_CLOCK = re.compile(r"((?:\d+:)?\d+:\d+) left")
_WORDS = re.compile(r"(?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s )?left")
T = TypeVar("T")


def duration(seconds: float) -> str:
    """Return a time as minutes and seconds, or hours, minutes and seconds: 0:07, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Counts work and prints a line to stderr at most every few seconds, and one with the rate at the end.

    Args:
        name: what the job does, such as "encode".
        total: amount of work.
        unit: its plural, such as "passages".
        active: whether this process prints; of several ranks, one does.
    """

    def __init__(self, name: str, total: int, unit: str, active: bool = True):
        self.name, self.total, self.unit, self.active = name, total, unit, active
        self.done = 0
        self.started = self.printed = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._print(f"in {duration(time.monotonic() - self.started)}")

    def add(self, count: int) -> None:
        """Count more finished work."""
        self.reach(self.done + count)

    def reach(self, done: int) -> None:
        """Set the finished work."""
        self.done = done
        now = time.monotonic()
        if now - self.printed >= EVERY_S:
            self.printed = now
            left = (now - self.started) / max(1, done) * (self.total - done)
            self._print(f"{duration(left)} left")

    def _print(self, end: str) -> None:
        if self.active and self.total:
            rate = self.done / max(1e-9, time.monotonic() - self.started)
            text = f"{self.name}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.0f}/s, {end}"
            print(text, file=sys.stderr, flush=True)


def counted(items: Iterable[T], progress: Progress) -> Iterator[T]:
    """Yield items, and count each when the next one is taken."""
    for item in items:
        yield item
        progress.add(1)


@dataclass(frozen=True)
class Reached:
    """How far a job is, by a line of its log."""

    done: float
    total: float
    unit: str
    rest: str
    """Rate, losses and remaining time, as the job wrote them."""

    @property
    def share(self) -> float:
        """The share of the work that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def rate(self) -> str:
        """The speed with its unit, such as 512/s or 90 queries/s; empty if the line has none."""
        return next((part for part in self.rest.split(", ") if part.endswith("/s")), "")

    @property
    def seconds_left(self) -> float | None:
        """The remaining seconds that the line states, as 1:02:03 or in words."""
        if match := _CLOCK.search(self.rest):
            parts = [int(part) for part in match[1].split(":")]
            return float(sum(part * 60**place for place, part in enumerate(reversed(parts))))
        if (match := _WORDS.search(self.rest)) and any(match.groups()):
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return float(3600 * hours + 60 * minutes + seconds)
        return None


def last(lines: Sequence[str]) -> Reached | None:
    """Return the newest progress in the lines of a log; None if there is none yet."""
    for line in reversed(lines):
        if match := _LINE.search(line):
            done, total = (float(match[name].replace(",", "").rstrip(".")) for name in ("done", "total"))
            return Reached(done, total, "steps" if match["step"] else match["unit"] or "", match["rest"])
    return None
