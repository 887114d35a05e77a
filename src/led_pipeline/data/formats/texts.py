"""Read published passages, titles and queries, one text a line.

| file | one line | reader |
|---|---|---|
| MS MARCO collection, queries | `id TAB text` | `read_tsv` |
| titles of a collection | `pid TAB title`, further columns are ignored | `read_titles` |
| the same, .jsonl | an object with `_id` or `docid`, and `title` (may be missing) | `read_titles` |
| BEIR corpus.jsonl | an object with `_id`, `title` (may be missing) and `text` | `read_corpus` |
| BEIR queries.jsonl | an object with `_id` and `text` | `read_queries` |

`docid` and `id` are accepted in place of `_id`, and integers as ids. A template, if given, renders the text from the
fields of a line, and the title is empty. Readers stream, compressed or not (module `streams`), and report to a
`Problems` (module `lines`). Callers check for duplicate ids, since they keep the ids anyway.
"""

from collections.abc import Iterator
from pathlib import Path

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.formats.headers import header_fault, is_header, is_quoted, opens_quote
from led_pipeline.data.formats.lines import MALFORMED, Problems, bad_id, is_encodable, is_id, read_lines, short
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.data.formats.templates import MissingFieldError, Template
from led_pipeline.files.reading import NotJson, parse_json

_IDS = ("_id", "docid", "id")  # BEIR's name, Tevatron's, and a common one

Text = tuple[int, str, str, str]  # line number, id, title, text


def read_tsv(path: Path | str, problems: Problems) -> Iterator[Text]:
    """Yield the texts of an MS MARCO collection or queries file; the title is empty."""
    open_quote = None
    for number, line in read_lines(path, problems):
        columns = line.split("\t")
        if len(columns) != 2:
            why = "; its lines end in CR alone, write them with LF" if number == 1 and "\r" in line else ""
            if open_quote == number - 1:
                why = f"; line {open_quote} opens a quote, write a text without quotes and line breaks on one line"
            problems.add(MALFORMED, path, number, f"{len(columns)} column(s), expected 2: id TAB text{why}")
            continue
        open_quote = number if opens_quote(columns[1]) else None
        if is_header(columns, number):
            problems.add("header_line", path, number, header_fault(columns, "a text"))
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
        for number, identifier, title, _ in _read_json_texts(path, problems, no_text=""):
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


def read_corpus(path: Path | str, problems: Problems, template: Template | None = None) -> Iterator[Text]:
    """Yield the documents of a BEIR corpus.jsonl; a title alone is enough."""
    for row in _read_json_texts(path, problems, template=template):
        if is_blank(row[2]) and is_blank(row[3]):
            fault = f"the title and the text of '{row[1]}' are empty, expected some text"
            problems.add("empty_text", path, row[0], fault)
        else:
            yield row


def read_queries(path: Path | str, problems: Problems, template: Template | None = None) -> Iterator[Text]:
    """Yield the queries of a BEIR queries.jsonl."""
    for row in _read_json_texts(path, problems, template=template):
        if is_blank(row[3]):
            problems.add("empty_text", path, row[0], empty(row[1], row[3]))
        else:
            yield row


def _read_json_texts(
    path: Path | str, problems: Problems, no_text: str | None = None, template: Template | None = None
) -> Iterator[Text]:
    """Yield the texts of a file of JSON lines; `no_text` replaces a missing text, which is a fault if it is None."""
    for number, line in read_lines(path, problems):
        try:
            record = parse_json(line)
        except NotJson as error:
            problems.add(MALFORMED, path, number, f"{error}, expected one object a line")
            continue
        if not isinstance(record, dict):
            problems.add(MALFORMED, path, number, "not an object, expected one with the keys _id and text")
            continue
        raw_id = next((record[name] for name in _IDS if name in record), None)
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
        elif ("\\ud" in line or "\\uD" in line) and not is_encodable(title + text):
            problems.add("bad_utf8", path, number, "a \\u escape names half a surrogate pair, expected both halves")
        else:
            yield number, identifier, title, text
