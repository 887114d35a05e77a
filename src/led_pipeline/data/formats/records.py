"""Read records, which map names to values, from JSON lines, CSV, tab-separated columns, Parquet and Arrow.

| kind of file | endings | names of the values |
|---|---|---|
| json | .jsonl; in BEIR's format any other | the keys of each line |
| csv | .csv | the header; or a list in `dataset.columns` |
| tab | any other, except in BEIR's format | a list in `dataset.columns`; or the header, if that maps names |
| table | .parquet, .arrow | the columns of the table |

No header becomes a record, and no record is taken for a header: without `dataset.columns`, the first line of a CSV has
to name a column of ids.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from led_pipeline.data.formats import stored
from led_pipeline.data.formats.headers import header_fault, is_header
from led_pipeline.data.formats.lines import MALFORMED, Problems, read_lines, short
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits
from led_pipeline.files.reading import NotJson, parse_json

Kind = Literal["json", "csv", "tab", "table"]
Record = tuple[int, dict[str, Any]]  # number of the line or row, values by name
Naming = Sequence[str] | Mapping[str, str] | None  # the columns in order; or our name -> the name in the file

_KINDS: dict[str, Kind] = {".jsonl": "json", ".csv": "csv"}


@dataclass(frozen=True)
class Names:
    """What the values of records are called."""

    columns: Naming = None
    ids: tuple[str, ...] = ()
    """A header must have one of these."""
    values: tuple[str, ...] = ()
    """Further columns of a table that are read."""
    key: str = ""
    """The key of the recipe for `columns`, for errors; empty if there is none."""
    header: str = "id, text"
    """Names that a header may have."""


def kind_of(path: Path | str, other: Kind) -> Kind:
    """Return how a file is read, by its ending; `other` is for endings that tell nothing."""
    if stored.is_table(path):
        return "table"
    name = plain_name(path)
    return next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), other)


def read_records(path: Path | str, problems: Problems, names: Names, other: Kind = "json") -> Iterator[Record]:
    """Yield the records of a file, with our names for those that `names.columns` maps.

    Raises:
        InputError: the columns have no names, or not those that the recipe says.
    """
    match kind_of(path, other):
        case "json":
            rows = _read_json(path, problems)
        case "csv":
            rows = _under_header(path, problems, names, _csv_rows(path, problems))
        case "tab":
            lines = ((number, line.split("\t")) for number, line in read_lines(path, problems))
            rows = _under_header(path, problems, names, lines)
        case "table":
            rows = _read_table(path, names)
    renamed = names.columns if isinstance(names.columns, Mapping) else {}
    other_ids = set(names.ids) if "id" in renamed else set()
    for number, record in rows:
        mapped = {ours: record[name] for ours, name in renamed.items() if name in record}
        yield number, {name: value for name, value in record.items() if name not in other_ids} | mapped


def _read_json(path: Path | str, problems: Problems) -> Iterator[Record]:
    for number, line in read_lines(path, problems):
        try:
            record = parse_json(line)
        except NotJson as error:
            problems.add(MALFORMED, path, number, f"{error}, expected one object a line")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            problems.add(MALFORMED, path, number, "not an object, expected one with the keys _id and text")


def _read_table(path: Path | str, names: Names) -> Iterator[Record]:
    columns = stored.column_names(path)
    _check_names(path, None, columns, names)
    mapped = names.columns.values() if isinstance(names.columns, Mapping) else ()
    return stored.read_rows(path, {*names.ids, *names.values, *mapped})


def _under_header(
    path: Path | str, problems: Problems, names: Names, rows: Iterator[tuple[int, list[str]]]
) -> Iterator[Record]:
    """Yield rows as records: of the columns that the recipe lists, or of those that the first row names."""
    columns = None if names.columns is None or isinstance(names.columns, Mapping) else list(names.columns)
    for number, row in rows:
        if columns is None:
            _check_names(path, number, row, names)
            columns = row
        elif row == columns and number == 1:
            continue
        elif row == columns or (len(row) == len(columns) and is_header(row, number)):
            problems.add("header_line", path, number, header_fault(row, f"the columns {', '.join(columns)}"))
        elif len(row) != len(columns):
            shape = f"{len(row)} column(s), expected {len(columns)}: {', '.join(columns)}"
            problems.add(MALFORMED, path, number, shape if row else "a blank line, expected a row")
        else:
            yield number, dict(zip(columns, row, strict=True))


def _check_names(path: Path | str, line: int | None, columns: Sequence[str], names: Names) -> None:
    """Check that the names of columns are those of records of this kind.

    Raises:
        InputError: a name is missing or there twice, or this is no header.
    """
    where, in_words = f"{path}:{line}" if line else str(path), short(", ".join(columns))
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"{where}: {columns.count(twice)} columns are called {twice!r}, expected different names")
    mapped = names.columns if isinstance(names.columns, Mapping) else {}
    for ours, name in mapped.items():
        if name not in columns:
            raise InputError(f"{where}: no column {name!r}, which {names.key} names for {ours}; there are {in_words}")
    if not {*names.ids} & {*columns, *mapped}:
        advice = f"write names as in {names.header}"
        if line and len(columns) == 1 and ";" in columns[0]:
            advice = "write the file with commas between columns, not semicolons"
        elif names.key:
            advice = f"say which columns have them: {names.key}: {{id: NAME, text: NAME}}"
            if line:
                advice += f"; if this line is no header, list the columns in order: {names.key}: {_in_order(columns)}"
        raise InputError(f"{where}: the columns {in_words}, none of which is called {' or '.join(names.ids)}; {advice}")


def _in_order(columns: Sequence[str]) -> str:
    """Return a list of names that fits a number of columns, as the recipe would say it."""
    usual = {2: ["id", "text"], 3: ["id", "title", "text"]}
    return f"[{', '.join(usual.get(len(columns), ['id', 'text', '...']))}]"


def _csv_rows(path: Path | str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV, by the number of their first line; quoted fields may have several lines.

    Raises:
        InputError: quotes are not closed, or text follows a closing quote.
    """
    csv.field_size_limit(min(limits().line, 2**31 - 1))
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in read_lines(path, problems, with_blank=True):
            last = number
            yield f"{line}\n"

    rows = csv.reader(lines(), strict=True)
    blank = 0  # the line of a blank row; at the end of the file they are dropped
    while True:
        first = last + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            fault = f"the row that begins here is no CSV ({error}), expected fields with commas, quotes or line breaks"
            raise InputError(f'{path}:{first}: {fault} in quotes, and "" for a quote; write it again') from None
        if row is None:
            return
        if not row:
            blank = blank or first
            continue
        if blank:
            yield blank, []
            blank = 0
        yield first, row
