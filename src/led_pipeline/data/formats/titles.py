"""Join the titles of a separate file to the passages of a collection."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from led_pipeline.data.formats.characters import look_alikes
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.texts import read_titles


class Ids(Protocol):
    """The ids of a collection."""

    def has(self, ids: Iterable[str]) -> Iterable[bool]:
        """Tell for each id whether the collection has it."""

    def __iter__(self) -> Iterator[str]: ...


class Titles:
    """The titles of a collection by passage id, read only as far as needed.

    If both files are in the same order, one title is held at a time; otherwise all that were skipped on the way.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self._path, self._problems = path, problems
        self._rows = read_titles(path, problems)
        self._ahead: dict[str, tuple[int, str]] = {}
        self.read = self.matched = 0  # number of titles

    def take(self, pid: str) -> str:
        """Return the title of a passage and forget it; the empty string if the file has none."""
        while pid not in self._ahead and self._advance():
            pass
        self.matched += pid in self._ahead
        return self._ahead.pop(pid, (0, ""))[1]

    def finish(self, passages: Ids) -> int:
        """Read the rest of the file and return the number of titles without a passage; `passages` are all ids."""
        while self._advance():
            pass
        strangers = []
        for pid, exists in zip(self._ahead, passages.has(self._ahead), strict=True):
            if exists:
                self._report_duplicate(self._ahead[pid][0], pid)
            else:
                strangers.append(pid)
        for _ in look_alikes(strangers, passages):
            self._problems.note("look_alike", self._path)
        return len(strangers)

    def _advance(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        self.read += 1
        line, pid, title = row
        if pid in self._ahead:
            self._report_duplicate(line, pid)
        else:
            self._ahead[pid] = line, title
        return True

    def _report_duplicate(self, line: int, pid: str) -> None:
        fault = f"passage '{pid}' has a title on an earlier line too, expected one title"
        self._problems.add("duplicate_id", self._path, line, fault)
