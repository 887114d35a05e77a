"""Read published score files, scores of query-passage pairs, one query at a time.

| file | content | read |
|---|---|---|
| .pkl, .pickle | {qid: {pid: score}}, ids as strings or integers; through `pickles` | at once |
| .json | the same | at once |
| .jsonl | lists, {"query": qid, "docs": [pid, ...], "scores": [score, ...]}, a query a line | by line |
| .jsonl | pairs, {"query": qid, "positive": pid, "negative": pid, "score": margin} | by line |
| .parquet | columns query, passage, score | by row group |
| .tsv | qid TAB pid TAB score | by line |
| .tsv | pairs, qid TAB positive TAB negative TAB margin, in any order | at once |
| .trec, .run, .txt | TREC run | by line |

A query's lines must be adjacent, except for pairs in a .tsv. All formats but Parquet may be compressed (module
`streams`). Module `score_pairs` turns margins into scores. SPLADE publishes gzip pickles, GPL writes a .tsv of pairs.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from led_pipeline.data.formats.headers import header_fault, is_header
from led_pipeline.data.formats.judgements import read_run
from led_pipeline.data.formats.lines import MALFORMED, Problems, bad_id, is_id, read_lines, short
from led_pipeline.data.formats.nested import PICKLES, as_id, as_ids, read_object
from led_pipeline.data.formats.numbers import as_score, read_score, score_fault, text_fault
from led_pipeline.data.formats.score_pairs import by_query, solve
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import NotJson, check_regular, parse_json, reading

Scored = tuple[str, list[str], list[float]]  # query id; passage ids and their scores, in file order

_KEYS = {  # keys of a line of JSON: our name -> the names in published files
    "query": ("query", "qid", "query_id"),
    "docs": ("docs", "docid", "docids", "passages"),
    "scores": ("scores", "score"),
}


def read_scores(path: Path | str) -> Iterator[Scored]:
    """Yield each query of a score file with its passages and their scores.

    Raises:
        InputError: the file name has no known ending, or the content does not fit the ending; files of lines are read
            to the end before their first fault is raised.
    """
    name = plain_name(path)
    reader = next((read for endings, read in _READERS.items() if name.endswith(endings)), None)
    if reader is None:
        suffixes = ", ".join(end for endings in _READERS for end in endings)
        raise InputError(f"{path}: no format of scores has this ending, expected one of {suffixes} (.gz, .zst allowed)")
    qids: set[str] = set()
    for qid, pids, scores in reader(path):
        if qid in qids:
            raise InputError(f"{path}: query '{qid}' comes again, expected its passages next to one another; sort it")
        qids.add(qid)
        if len(set(pids)) != len(pids):
            raise InputError(_twice(path, qid))
        yield qid, pids, scores


def _scores(values: Iterable[Any]) -> list[float] | None:
    """Return scores as floats, or None if one of them is not valid."""
    scores = [as_score(value) for value in values]
    valid = [each for each in scores if each is not None]
    return valid if len(valid) == len(scores) else None


def _fault(qid: Any, pids: Iterable[Any], scores: Iterable[Any]) -> str:
    """Return the sentence about the first invalid id or score of a query."""
    if as_id(qid) is None:
        return bad_id(qid, "a query is")
    for pid in pids:
        if as_id(pid) is None:
            return bad_id(pid, f"a passage of query '{qid}' is")
    return f"query '{qid}': {next(score_fault(score) for score in scores if as_score(score) is None)}"


def _nested(path: Path | str, content: Any) -> Iterator[Scored]:
    """Yield the queries of a dict {qid: {pid: score}}."""
    shape = "{query id: {passage id: score}}"
    if not isinstance(content, dict):
        raise InputError(f"{path}: it holds a {type(content).__name__}, expected {shape}")
    for query, scores in content.items():
        qid = as_id(query)
        if not isinstance(scores, dict):
            raise InputError(f"{path}: query {short(query)} has {short(scores)}; expected {shape}")
        pids, values = as_ids(scores), _scores(scores.values())
        if qid is None or pids is None or values is None:
            raise InputError(f"{path}: {_fault(query, scores, scores.values())}; expected {shape}")
        yield qid, pids, values


def _read_object(path: Path | str) -> Iterator[Scored]:
    yield from _nested(path, read_object(path))


def _together(path: Path | str, rows: Iterable[tuple[str, str, float]]) -> Iterator[Scored]:
    for qid, group in groupby(rows, key=itemgetter(0)):
        scores: dict[str, float] = {}
        for _, pid, score in group:
            if pid in scores:  # checked for every row: a few bytes of Parquet can repeat a row a billion times
                raise InputError(_twice(path, qid))
            scores[pid] = score
        yield qid, list(scores), list(scores.values())


def _twice(path: Path | str, qid: str) -> str:
    return f"{path}: a passage of query '{qid}' comes twice, expected one score for each; remove one"


def _read_tsv(path: Path | str) -> Iterator[Scored]:
    problems = Problems()
    lines = read_lines(path, problems)
    first = next(lines, None)
    if first is None:
        problems.check()
        return
    width = 3 if first[1].count("\t") == 3 else 2  # number of ids before the score
    shape = "4 columns: qid TAB positive TAB negative TAB margin" if width == 3 else "3 columns: qid TAB pid TAB score"

    def rows() -> Iterator[tuple[list[str], float]]:
        for number, line in chain([first], lines):
            *ids, value = line.split("\t")
            if is_header([*ids, value], number):
                problems.add(MALFORMED, path, number, header_fault([*ids, value], shape))
                continue
            score = read_score(value)
            if len(ids) != width or not all(map(is_id, ids)):
                problems.add(MALFORMED, path, number, f"{line[:60]!r}, expected {shape}")
            elif score is None:
                problems.add(MALFORMED, path, number, f"{text_fault(value)} ({shape})")
            elif width == 3 and ids[1] == ids[2]:
                problems.add(MALFORMED, path, number, f"passage '{ids[1]}' is paired with itself, expected two")
            else:
                yield ids, score

    if width == 3:
        triples = ((qid, positive, negative, margin) for (qid, positive, negative), margin in rows())
        yield from ((qid, *solve(pairs)) for qid, pairs in by_query(triples))
    else:
        yield from _together(path, ((qid, pid, score) for (qid, pid), score in rows()))
    problems.check()


def _read_json_lines(path: Path | str) -> Iterator[Scored]:
    problems = Problems()

    def lines() -> Iterator[tuple[str, list[str], list[float], bool]]:
        for number, line in read_lines(path, problems):
            try:
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise _NoRecord(_SHAPES)
                yield _record(record)
            except NotJson as error:
                problems.add(MALFORMED, path, number, f"{error}, expected one object a line")
            except _NoRecord as error:
                problems.add(MALFORMED, path, number, f"{line[:60]!r}: {error}")

    for (qid, paired), group in groupby(lines(), key=itemgetter(0, 3)):
        parts = list(group)
        if not paired:
            yield from ((qid, pids, scores) for _, pids, scores, _ in parts)
            continue
        yield qid, *solve([(pids[0], pids[1], -scores[1]) for _, pids, scores, _ in parts])
    problems.check()


class _NoRecord(ValueError):
    """A line of JSON is not a record of scores; the message says why."""


_SHAPES = "expected the keys query, docs and scores (lists of equal length), or query, positive, negative, score"


def _record(record: dict[str, Any]) -> tuple[str, list[str], list[float], bool]:
    """Return one line's query, passages and scores, and whether it is a pair."""
    query, docs, scores = (next((record[k] for k in names if k in record), None) for names in _KEYS.values())
    paired = "positive" in record and "negative" in record
    if paired:
        docs, scores = [record["positive"], record["negative"]], [scores]
    elif not isinstance(docs, list) or not isinstance(scores, list) or len(docs) != len(scores):
        raise _NoRecord(_SHAPES)
    qid, pids, values = as_id(query), as_ids(docs), _scores(scores)
    if qid is None or pids is None or values is None:
        raise _NoRecord(_fault(query, docs, scores))
    if paired and pids[0] == pids[1]:
        raise _NoRecord(f"passage '{pids[0]}' is paired with itself, expected two")
    return qid, pids, [0.0, -values[0]] if paired else values, paired


def _read_parquet(path: Path | str) -> Iterator[Scored]:
    columns = ["query", "passage", "score"]
    expected = f"a Parquet file with the columns {', '.join(columns)}"
    check_regular(path, expected)
    with reading(path, expected):
        yield from _together(path, _parquet_rows(path, _parquet_batches(path, columns)))


def _parquet_batches(path: Path | str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of a file as strings and 64-bit floats."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        for name in columns:
            if (count := schema.names.count(name)) != 1:
                fault = f"{count} columns {name}" if count else f"no column {name}"
                raise InputError(f"{path}: {fault}, expected the columns {', '.join(columns)}")
        kinds = [schema.field(name).type for name in columns]
        if not all(pa.types.is_integer(t) or pa.types.is_string(t) or pa.types.is_large_string(t) for t in kinds[:2]):
            raise InputError(f"{path}: ids of the types {kinds[0]} and {kinds[1]}, expected strings or integers")
        if not (pa.types.is_integer(kinds[2]) or pa.types.is_floating(kinds[2])):
            raise InputError(f"{path}: scores of the type {kinds[2]}, expected floats or integers")
        rows = 0
        for batch in file.iter_batches(columns=columns):
            rows += len(batch)
            ids = [pc.cast(batch[name], pa.string()) for name in columns[:2]]
            scores = pc.cast(batch["score"], pa.float64(), safe=False)
            yield pa.record_batch([*ids, scores], columns)
        if rows != file.metadata.num_rows:
            raise InputError(f"{path}: {rows:,} of the {file.metadata.num_rows:,} rows can be read; write it again")


def _parquet_rows(path: Path | str, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str, float]]:
    for batch in batches:
        for qid, pid, score in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if not (is_id(qid) and is_id(pid)) or as_score(score) is None:
                fault = f"a row with query {short(qid)} and passage {short(pid)}: {_fault(qid, [pid], [score])}"
                raise InputError(f"{path}: {fault}")
            yield qid, pid, score


_READERS: dict[tuple[str, ...], Callable[[Path | str], Iterator[Scored]]] = {
    PICKLES: _read_object,
    (".json",): _read_object,
    (".jsonl",): _read_json_lines,
    (".parquet",): _read_parquet,
    (".tsv",): _read_tsv,
    (".trec", ".run", ".txt"): read_run,
}
