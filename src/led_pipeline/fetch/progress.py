"""Print the progress of a download every few seconds: bytes received, rate and time left."""

import sys
import time

EVERY_S = 5.0


def megabytes(size: float) -> str:
    """Format a number of bytes in MB (10^6)."""
    return f"{size / 1e6:,.1f}"


def duration(seconds: float) -> str:
    """Format a number of seconds: 42 s, 3 min 05 s, 2 h 07 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Progress:
    """Count received bytes and report them on stderr."""

    def __init__(self, name: str, start: int, total: int | None) -> None:
        """Start counting.

        Args:
            start: bytes that an earlier transfer received.
            total: size of the file in bytes, None if unknown.
        """
        self._name, self._start, self._total = name, start, total
        self._received = 0
        self._began = self._last_report = time.monotonic()
        if start:
            print(f"{name}: continuing after {megabytes(start)} MB", file=sys.stderr, flush=True)

    def add(self, size: int) -> None:
        """Count `size` more bytes."""
        self._received += size
        if time.monotonic() - self._last_report >= EVERY_S:
            self.report()

    def report(self) -> None:
        """Print a line."""
        self._last_report = time.monotonic()
        print(f"{self._name}: {self.line(self._last_report - self._began)}", file=sys.stderr, flush=True)

    def line(self, elapsed_s: float) -> str:
        """Return the bytes received, the mean rate of this transfer, and the time left at that rate."""
        present, rate = self._start + self._received, self._received / max(elapsed_s, 1e-9)
        if not self._total:
            return f"{megabytes(present)} MB, {megabytes(rate)} MB/s"
        share = f"{megabytes(present)} of {megabytes(self._total)} MB ({100 * present // self._total} %)"
        left = "" if present >= self._total or not rate else f", {duration((self._total - present) / rate)} left"
        return f"{share}, {megabytes(rate)} MB/s{left}"
