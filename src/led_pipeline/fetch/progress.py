"""Progress: how much of a file has arrived, how fast, and how long the rest will take; a line every few seconds."""

import sys
import time

EVERY_S = 5.0


def megabytes(size: float) -> str:
    """Return a number of bytes in MB (10^6), as for people."""
    return f"{size / 1e6:,.1f}"


def duration(seconds: float) -> str:
    """Return seconds as for people: 42 s, 3 min 05 s, 2 h 07 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Progress:
    """Count what arrives, and say it on stderr."""

    def __init__(self, name: str, start: int, total: int | None) -> None:
        """Begin with `start` bytes that are there already; `total` is None where nobody says how many there are."""
        self._name, self._start, self._total = name, start, total
        self._received = 0
        self._began = self._shown = time.monotonic()
        if start:
            print(f"{name}: going on after {megabytes(start)} MB", file=sys.stderr, flush=True)

    def add(self, size: int) -> None:
        """Count `size` bytes more."""
        self._received += size
        if time.monotonic() - self._shown >= EVERY_S:
            self.show()

    def show(self) -> None:
        """Write a line."""
        self._shown = time.monotonic()
        print(f"{self._name}: {self.line(self._shown - self._began)}", file=sys.stderr, flush=True)

    def line(self, elapsed_s: float) -> str:
        """Return what has arrived, the mean rate since the beginning, and what that means for the rest."""
        there, rate = self._start + self._received, self._received / max(elapsed_s, 1e-9)
        if not self._total:
            return f"{megabytes(there)} MB, {megabytes(rate)} MB/s"
        share = f"{megabytes(there)} of {megabytes(self._total)} MB ({100 * there // self._total} %)"
        left = "" if there >= self._total or not rate else f", {duration((self._total - there) / rate)} left"
        return f"{share}, {megabytes(rate)} MB/s{left}"
