"""A terminal for tests: a program runs on a pseudo-terminal, and its screen is read as lines of text."""

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from typing import Any

CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Screen:
    """The lines that a terminal shows, scrolled ones included: only what rich and Snakemake write is understood."""

    def __init__(self) -> None:
        self.lines, self.row, self.column = [""], 0, 0
        self.status: int | None = None
        self._rest = ""

    def feed(self, text: str) -> None:
        """Show more output."""
        text, self._rest, place = self._rest + text, "", 0
        while place < len(text):
            character = text[place]
            if character == "\x1b":
                match = CONTROL.match(text, place)
                if match is None:  # incomplete
                    self._rest = text[place:]
                    return
                self._control(match[1], match[2])
                place = match.end()
                continue
            place += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
                self.column += 1

    def _control(self, number: str, name: str) -> None:
        if name == "A":
            self.row = max(0, self.row - int(number or 1))
        elif name == "K":
            self.lines[self.row] = "" if number == "2" else self.lines[self.row][: self.column]

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


def on_a_terminal(command: Sequence[str], columns: int = 120, rows: int = 40, **options: Any) -> Iterator[Screen]:
    """Run a command on a terminal, and yield its screen whenever it has changed; the last one after its end.

    Attributes of the yielded screen: `status` is the exit status, None while the command runs.
    """
    our_end, program_end = pty.openpty()
    fcntl.ioctl(program_end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    options["env"] = options.get("env", dict(os.environ)) | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=program_end, stdout=program_end, stderr=program_end, **options)
    os.close(program_end)
    screen, decode = Screen(), codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        try:
            data = os.read(our_end, 65_536)
        except OSError:  # Linux: nobody has the terminal open any more
            data = b""
        if not data:
            break
        screen.feed(decode(data))
        yield screen
    os.close(our_end)
    screen.status = process.wait()
    yield screen
