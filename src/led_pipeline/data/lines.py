"""Lines: text files read line by line, plain or compressed (module `streams`), and the problems found in them.

A reader never stops at the first bad line and never drops one silently. It reports to a `Problems`, which either counts
the line as skipped, because `dataset.skip` in the recipe names this kind of defect, or keeps it for the one
`InputError` that `Problems.check` raises once everything is read. To skip means to leave the whole line out: a line
that is not UTF-8 is not repaired.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from led_pipeline.data.streams import DAMAGED, damage, open_bytes
from led_pipeline.files import InputError
from led_pipeline.recipe_data import Defect

DEFECTS: tuple[str, ...] = get_args(Defect)
MALFORMED = "malformed"  # the one kind that cannot be skipped: nobody knows what such a line should say

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Problems:
    """The problems of the files that one command reads: counts, and the full story of the first one only."""

    def __init__(self, skip: Collection[str] = ()) -> None:
        if unknown := set(skip) - set(DEFECTS):
            raise ValueError(f"skip: no defect {sorted(unknown)}, there are {', '.join(DEFECTS)}")
        self._skip = [kind for kind in DEFECTS if kind in skip]
        self._first: tuple[str, str] | None = None  # kind, sentence
        self._found: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {}

    def add(self, kind: str, path: Path | str, line: int, fault: str) -> None:
        """Report a line that the caller leaves out; `fault` says what is wrong and what was expected."""
        if kind in self._skip:
            self._skipped.setdefault(str(path), Counter())[kind] += 1
            return
        self._found[kind] += 1
        if self._first is None:
            self._first = kind, f"{path}:{line}: {fault}"

    @property
    def skipped(self) -> dict[str, dict[str, int]]:
        """How many lines were left out, by file and kind of defect."""
        return {path: dict(counts) for path, counts in self._skipped.items()}

    def check(self) -> None:
        """Raise one `InputError` for everything that was found and not skipped; return if there is nothing."""
        if self._first is None:
            return
        kind, sentence = self._first
        sentence += "; correct the file"
        if kind in DEFECTS:
            keys = ", ".join([*self._skip, kind])
            sentence += f", or set dataset.skip: [{keys}] to leave such lines out and count them"
        others = self._found - Counter([kind])
        if others:
            more = (f"{count:,} more {name}" if name == kind else f"{count:,} {name}" for name, count in others.items())
            sentence += f" (besides this line: {', '.join(more)})"
        raise InputError(sentence)


def read_lines(path: Path | str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and lines without their end.

    Lines end in LF or CR LF, a byte order mark at the start is dropped, and so are blank lines at the end of the file;
    any other blank line is malformed.

    Raises:
        InputError: the file cannot be opened, or its compressed stream is damaged or cut off.
    """
    number = 0
    blank: list[int] = []
    with open_bytes(path) as file:
        try:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    raw = raw.removeprefix(_BYTE_ORDER_MARK)
                raw = raw.rstrip(b"\r\n")
                if not raw:
                    blank.append(number)
                    continue
                if blank:
                    _report_blank(path, blank, problems)
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    fault = f"byte {error.start + 1} of the line, 0x{raw[error.start]:02x}, is not UTF-8"
                    problems.add("bad_utf8", path, number, f"{fault}, expected UTF-8 text")
                    continue
                yield number, line
        except DAMAGED as error:
            raise damage(path, error, number + 1) from error


def is_id(value: object) -> bool:
    """Tell whether a value can be an id: a string, not empty, without white space, which TREC files are split at."""
    return isinstance(value, str) and value.split() == [value]


def bad_id(value: object, what: str) -> str:
    """Return the sentence about a value that is not an id."""
    return f"{what} {value!r}, expected an id: a string that is not empty and has no white space"


def _report_blank(path: Path | str, blank: list[int], problems: Problems) -> None:
    for number in blank:
        problems.add(MALFORMED, path, number, "a blank line, expected blank lines at the end of the file only")
    blank.clear()
