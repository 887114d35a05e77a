"""Capture: what this process and its jobs write to the terminal goes to a file, so that a view can print it in order.

A file, not a pipe: nobody waits for a reader, and jobs can go on writing whatever happens to the view.
"""

import os
import sys
import tempfile
from contextlib import suppress


class Capture:
    """Takes the terminal away from standard output and standard error, until `end`.

    Attributes:
        terminal: the terminal, as a text file.
    """

    def __init__(self) -> None:
        _flush()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open until `end`
        self._position = 0
        self._saved = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        device = os.dup(next(iter(self._saved.values())))
        self.terminal = os.fdopen(device, "w", encoding=sys.stderr.encoding, errors="replace")
        for fd in self._saved:
            os.dup2(self._file.fileno(), fd)

    @property
    def size(self) -> tuple[int, int]:
        """The columns and lines of the terminal; some do not tell theirs."""
        size = os.get_terminal_size(self.terminal.fileno())
        return size.columns or 80, size.lines or 24

    def read(self) -> str:
        """Return what was written since the last call, up to the end of a line."""
        _flush()
        written = os.fstat(self._file.fileno()).st_size - self._position
        data = os.pread(self._file.fileno(), written, self._position)
        data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        return data.decode(errors="replace").rstrip("\n")

    def end(self) -> None:
        """Give the terminal back, and write what was not read."""
        if not self._saved:
            return
        _flush()
        rest = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, self._position)
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        self._saved = {}
        with suppress(OSError):
            self.terminal.close()
            os.write(2, rest)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
