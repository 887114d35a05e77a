"""Look up queries and passages of a run by row number or id."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.data.opened import parquet
from led_pipeline.data.tables import every_id
from led_pipeline.files.errors import InputError
from led_pipeline.inspection.runs import Run, present
from led_pipeline.report.examples import snippet


@dataclass(frozen=True)
class Query:
    """A query of a split."""

    row: int
    qid: str
    text: str


@dataclass(frozen=True)
class Passage:
    """A passage of the collection."""

    row: int
    pid: str
    title: str
    text: str

    def line(self, length: int) -> str:
        """Return title and text on one line, cut between words."""
        return snippet(f"{self.title}: {self.text}" if self.title else self.text, length)


def find_query(run: Run, split: str, name: str) -> Query:
    """Return the query with an id, or else, if the name is a number, the query in that row (from 0).

    Raises:
        InputError: there is none.
    """
    path = present(run.layout.queries(split))
    row = next((row for row, qid in enumerate(every_id(path)) if qid == name), None)
    with parquet(path) as file:
        count = file.metadata.num_rows
    if row is None and name.isdecimal() and int(name) < count:
        row = int(name)
    if row is None:
        raise InputError(
            f"--query {name}: the split '{split}' has no query with this id, and no row of this"
            f" number; its {count:,} queries are in {path}"
        )
    return queries(run, split, [row])[row]


def queries(run: Run, split: str, rows: Iterable[int]) -> dict[int, Query]:
    """Return queries by row."""
    return {
        row: Query(row, columns["id"][0], columns["text"][0])
        for row, columns in _rows(present(run.layout.queries(split)), rows, ["id", "text"])
    }


def passages(run: Run, rows: Iterable[int]) -> dict[int, Passage]:
    """Return passages by row."""
    return {
        row: Passage(row, columns["id"][0], columns["title"][0], columns["text"][0])
        for row, columns in _rows(present(run.layout.passages), rows, ["id", "title", "text"])
    }


def _rows(path: Path, rows: Iterable[int], columns: list[str]) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Yield some rows of a Parquet file, each of its row groups read at most once."""
    distinct, first = sorted(set(rows)), 0
    with parquet(path) as file:
        for group in range(file.num_row_groups):
            length = file.metadata.row_group(group).num_rows
            inside = [row for row in distinct if first <= row < first + length]
            if inside:
                table = file.read_row_group(group, columns=columns)
                for row in inside:
                    yield row, table.slice(row - first, 1).to_pydict()
            first += length
