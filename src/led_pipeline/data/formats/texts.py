"""Read published passages, titles and queries.

| file | one line | reader |
|---|---|---|
| MS MARCO collection, queries | `id TAB text` | `read_tsv` |
| titles of a collection | `pid TAB title`, further columns are ignored | `read_titles` |
| the same, .jsonl | an object with `_id` or `docid`, and `title` (may be missing) | `read_titles` |
| BEIR corpus.jsonl | an object with `_id`, `title` (may be missing) and `text` | `read_corpus` |
| BEIR queries.jsonl | an object with `_id` and `text` | `read_queries` |

`read_corpus` and `read_queries` also read CSV, tab-separated columns, Parquet and Arrow (module `records`). `docid` and
`id` are accepted in place of `_id`, and integers as ids. A template, if given, renders the text from the fields of a
record, and the title is empty. Readers stream, compressed or not (module `streams`), and report to a
`Problems` (module `lines`). Callers check for duplicate ids, since they keep the ids anyway.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.formats.headers import header_fault, is_header, is_quoted, opens_quote
from led_pipeline.data.formats.lines import MALFORMED, Problems, bad_id, is_encodable, is_id, read_lines, short
from led_pipeline.data.formats.records import Kind, Names, Naming, Record, read_records
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.data.formats.templates import MissingFieldError, Template
from led_pipeline.recipe.dataset import ID_COLUMNS

_MORE = "dataset.columns, such as passage: [id, title, text]"
_MAPPED = "map them in dataset.columns, such as passage: {id: pid, text: passage}"
Side = Literal["passage", "query"]
Text = tuple[int, str, str, str]  # line number, id, title, text


def read_tsv(path: Path | str, problems: Problems) -> Iterator[Text]:
    """Yield the texts of an MS MARCO collection or queries file; the title is empty."""
    open_quote = None
    for number, line in read_lines(path, problems):
        columns = line.split("\t")
        if len(columns) != 2:
            why = f"; name the columns: {_MORE}" if len(columns) > 2 else ""
            if number == 1 and "\r" in line:
                why = "; its lines end in CR alone, write them with LF"
            if open_quote == number - 1:
                why = f"; line {open_quote} opens a quote, write a text without quotes and line breaks on one line"
            problems.add(MALFORMED, path, number, f"{len(columns)} column(s), expected 2: id TAB text{why}")
            continue
        open_quote = number if opens_quote(columns[1]) else None
        if is_header(columns, number):
            fault = f"{header_fault(columns, 'a text')}; to read it under these names, {_MAPPED}"
            problems.add("header_line", path, number, fault)
        elif not is_id(columns[0]):
            problems.add(MALFORMED, path, number, bad_id(columns[0], "column 1 is"))
        elif is_blank(columns[1]):
            problems.add("empty_text", path, number, empty(columns[0], columns[1]))
        else:
            if is_quoted(*columns):
                problems.note("quoted_field", path)
            yield number, columns[0], "", columns[1]


def empty(identifier: str, text: str) -> str:
    """Return the sentence about a blank text."""
    fault = f"shows nothing ({text[:20]!r})" if text.strip() else "is empty"
    return f"the text of '{identifier}' {fault}, expected some text"


def read_titles(path: Path | str, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """Yield line numbers, passage ids and titles, which may be empty; columns after the second are ignored."""
    if plain_name(path).endswith(".jsonl"):
        for number, identifier, title, _ in _texts_of(read_records(path, problems, Names()), path, problems, ""):
            yield number, identifier, title
        return
    for number, line in read_lines(path, problems):
        columns = line.split("\t", 2)
        if len(columns) < 2:
            problems.add(MALFORMED, path, number, "1 column, expected at least 2: pid TAB title")
        elif is_header(line.split("\t"), number):
            problems.add("header_line", path, number, header_fault(line.split("\t"), "a title"))
        elif not is_id(columns[0]):
            problems.add(MALFORMED, path, number, bad_id(columns[0], "column 1 is"))
        else:
            if is_quoted(*columns[:2]):
                problems.note("quoted_field", path)
            yield number, columns[0], columns[1]


def read_corpus(
    path: Path | str, problems: Problems, template: Template | None = None, columns: Naming = None, other: Kind = "json"
) -> Iterator[Text]:
    """Yield the passages of a BEIR corpus.jsonl, or of another file of records; a title alone is enough."""
    records = read_records(path, problems, text_names("passage", template, columns), other)
    yield from passages_of(records, path, problems, template)


def read_queries(
    path: Path | str, problems: Problems, template: Template | None = None, columns: Naming = None, other: Kind = "json"
) -> Iterator[Text]:
    """Yield the queries of a BEIR queries.jsonl, or of another file of records."""
    records = read_records(path, problems, text_names("query", template, columns), other)
    yield from queries_of(records, path, problems, template)


def text_names(side: Side, template: Template | None, columns: Naming) -> Names:
    """Return what the values of a text's records are called."""
    fields = {field.partition(".")[0] for field in template.fields} if template else set[str]()
    values = ("title", "text", *sorted(fields))
    return Names(columns, ID_COLUMNS, values, f"dataset.columns.{side}")


def passages_of(
    records: Iterable[Record], path: Path | str, problems: Problems, template: Template | None = None
) -> Iterator[Text]:
    """Yield the passages in records."""
    for row in _texts_of(records, path, problems, template=template):
        if is_blank(row[2]) and is_blank(row[3]):
            fault = f"the title and the text of '{row[1]}' are empty, expected some text"
            problems.add("empty_text", path, row[0], fault)
        else:
            yield row


def queries_of(
    records: Iterable[Record], path: Path | str, problems: Problems, template: Template | None = None
) -> Iterator[Text]:
    """Yield the queries in records."""
    for row in _texts_of(records, path, problems, template=template):
        if is_blank(row[3]):
            problems.add("empty_text", path, row[0], empty(row[1], row[3]))
        else:
            yield row


def _texts_of(
    records: Iterable[Record],
    path: Path | str,
    problems: Problems,
    no_text: str | None = None,
    template: Template | None = None,
) -> Iterator[Text]:
    """Yield the texts in records; `no_text` replaces a missing text, which is a fault if it is None."""
    for number, record in records:
        raw_id = next((record[name] for name in ID_COLUMNS if name in record), None)
        identifier = str(raw_id) if type(raw_id) is int else raw_id
        title, text = record.get("title"), record.get("text", no_text)
        title = "" if title is None else title
        if template:
            try:
                title, text = "", template.render(record)
            except MissingFieldError as error:
                problems.add(MALFORMED, path, number, str(error))
                continue
        if not is_id(identifier):
            problems.add(MALFORMED, path, number, bad_id(identifier, "_id is"))
        elif not isinstance(text, str) or not isinstance(title, str):
            key, value = ("title", title) if isinstance(text, str) else ("text", text)
            problems.add(MALFORMED, path, number, f"{key} is {short(value)}, expected a string")
        elif not (text.isascii() and title.isascii()) and not is_encodable(title + text):
            problems.add("bad_utf8", path, number, "a \\u escape names half a surrogate pair, expected both halves")
        else:
            yield number, identifier, title, text
