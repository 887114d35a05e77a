"""Find the line of a score file that has a query, or one of its passages, for error messages."""

from pathlib import Path

from led_pipeline.data.formats.lines import Problems, read_lines
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.files.reading import NotJson, parse_json

_RUNS = (".trec", ".run", ".txt")
_ENDINGS = (*_RUNS, ".tsv", ".jsonl")


def line_of(path: Path | str, qid: str, pid: str | None = None) -> int | None:
    """Return the number of the first line with a query, or with a passage of it; None in formats without lines."""
    name = plain_name(path)
    if not name.endswith(_ENDINGS):
        return None
    for number, line in read_lines(path, Problems()):
        if qid in line and (pid is None or pid in line):  # a quick test before the columns are split
            query, passages = _ids(line, name)
            if query == qid and (pid is None or pid in passages):
                return number
    return None


def _ids(line: str, name: str) -> tuple[str, list[str]]:
    """Return the query and the passages of one line."""
    if name.endswith(".jsonl"):
        try:
            record = parse_json(line)
        except NotJson:
            return "", []
        values = [str(value) for value in record.values() if isinstance(value, str | int)]
        in_lists = [str(value) for each in record.values() if isinstance(each, list) for value in each]
        return next((str(record[key]) for key in ("query", "qid", "query_id") if key in record), ""), [
            *values,
            *in_lists,
        ]
    columns = line.split() if name.endswith(_RUNS) else line.split("\t")
    return (columns[0], columns[2:3]) if name.endswith(_RUNS) else (columns[0], columns[1:-1])
