"""Score files: scores of query-passage pairs as others publish them, one query at a time.

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

A query's lines stand together, but for pairs in a .tsv. All but Parquet may be compressed (module `streams`). What a
pair's margin says of scores: module `score_pairs`. SPLADE publishes gzip pickles, GPL makes a .tsv of pairs.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from led_pipeline.data.formats import read_run
from led_pipeline.data.headers import header_fault, is_header
from led_pipeline.data.lines import MALFORMED, Problems, bad_id, is_id, read_lines
from led_pipeline.data.pickles import read_pickle
from led_pipeline.data.score_pairs import by_query, solve
from led_pipeline.data.streams import DAMAGED, damage, open_bytes, plain_name
from led_pipeline.files import InputError

Scored = tuple[str, list[str], list[float]]  # query id; passage ids and their scores, in file order

_KEYS = {  # of a line of JSON: our name -> the names it has in published files
    "query": ("query", "qid", "query_id"),
    "docs": ("docs", "docid", "docids", "passages"),
    "scores": ("scores", "score"),
}


def read_scores(path: Path | str) -> Iterator[Scored]:
    """Yield each query of a score file with its passages and their scores.

    Raises:
        InputError: the ending is of no known format, or the content is not what it says; lines are read to the end
            before the first fault of them is named.
    """
    name = plain_name(path)
    reader = next((read for endings, read in _READERS.items() if name.endswith(endings)), None)
    if reader is None:
        known = ", ".join(end for endings in _READERS for end in endings)
        raise InputError(f"{path}: no format of scores has this ending, expected one of {known} (.gz, .zst allowed)")
    seen: set[str] = set()
    for qid, pids, scores in reader(path):
        if qid in seen:
            raise InputError(f"{path}: query '{qid}' comes again, expected its passages next to one another; sort it")
        seen.add(qid)
        if len(set(pids)) != len(pids):
            raise InputError(f"{path}: a passage of query '{qid}' comes twice, expected one score for each; remove one")
        yield qid, pids, scores


def _as_id(value: Any) -> str | None:
    """Return an id, which may be an integer, as a string; None if it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if is_id(value) else None


def _as_score(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _nested(path: Path | str, content: Any) -> Iterator[Scored]:
    """Yield {qid: {pid: score}}."""
    shape = "{query id: {passage id: score}}"
    if not isinstance(content, dict):
        raise InputError(f"{path}: it holds a {type(content).__name__}, expected {shape}")
    for query, scores in content.items():
        qid = _as_id(query)
        if qid is None or not isinstance(scores, dict):
            what = bad_id(query, "a query is") if qid is None else f"query '{qid}' has {str(scores)[:40]!r}"
            raise InputError(f"{path}: {what}; expected {shape}")
        pids, values = [_as_id(pid) for pid in scores], [_as_score(score) for score in scores.values()]
        if None in pids or None in values:
            pid, score = list(scores.items())[(pids if None in pids else values).index(None)]
            raise InputError(f"{path}: query '{qid}' has passage {pid!r} with score {score!r}; expected {shape}")
        yield qid, pids, values


def _read_pickle(path: Path | str) -> Iterator[Scored]:
    with open_bytes(path) as file:
        content = read_pickle(file, str(path))
    yield from _nested(path, content)


def _read_json(path: Path | str) -> Iterator[Scored]:
    with open_bytes(path) as file:
        try:
            content = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid JSON ({error}); write it again") from error
        except DAMAGED as error:
            raise damage(path, error) from error
    yield from _nested(path, content)


def _together(path: Path | str, rows: Iterable[tuple[str, str, float]]) -> Iterator[Scored]:
    for qid, group in groupby(rows, key=itemgetter(0)):
        _, pids, scores = zip(*group, strict=True)
        yield qid, list(pids), list(scores)


def _read_tsv(path: Path | str) -> Iterator[Scored]:
    problems = Problems()
    lines = read_lines(path, problems)
    first = next(lines, None)
    if first is None:
        return
    names = 3 if first[1].count("\t") == 3 else 2  # ids before the number
    shape = "4 columns: qid TAB positive TAB negative TAB margin" if names == 3 else "3 columns: qid TAB pid TAB score"

    def rows() -> Iterator[tuple]:
        for number, line in chain([first], lines):
            *ids, value = line.split("\t")
            if number == 1 and is_header([*ids, value]):
                problems.add(MALFORMED, path, number, header_fault([*ids, value], shape))
                continue
            try:
                score = float(value)
            except ValueError:
                score = math.nan
            if len(ids) != names or not math.isfinite(score) or not all(map(is_id, ids)):
                problems.add(MALFORMED, path, number, f"{line[:60]!r}, expected {shape}")
            elif names == 3 and ids[1] == ids[2]:
                problems.add(MALFORMED, path, number, f"passage '{ids[1]}' is paired with itself, expected two")
            else:
                yield *ids, score

    if names == 3:
        yield from ((qid, *solve(pairs)) for qid, pairs in by_query(rows()))
    else:
        yield from _together(path, rows())
    problems.check()


def _read_json_lines(path: Path | str) -> Iterator[Scored]:
    problems = Problems()

    def lines() -> Iterator[tuple[str, list[str], list[float], bool]]:
        for number, line in read_lines(path, problems):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                problems.add(MALFORMED, path, number, f"not valid JSON ({error.msg}), expected one object a line")
                continue
            found = _record(record) if isinstance(record, dict) else None
            if found:
                yield found
            else:
                fault = (
                    "expected the keys query, docs and scores (as many of both), or query, positive, negative, score"
                )
                problems.add(MALFORMED, path, number, f"{line[:60]!r}: {fault}")

    for (qid, paired), group in groupby(lines(), key=itemgetter(0, 3)):
        parts = list(group)
        if not paired:
            yield from ((qid, pids, scores) for _, pids, scores, _ in parts)
            continue
        yield qid, *solve([(*pids, -scores[1]) for _, pids, scores, _ in parts])
    problems.check()


def _record(record: dict) -> tuple[str, list[str], list[float], bool] | None:
    """Return one line's query, passages and scores, and whether it is a pair; None if it is neither kind."""
    query, docs, scores = (next((record[k] for k in names if k in record), None) for names in _KEYS.values())
    qid = _as_id(query)
    if "positive" in record and "negative" in record:
        pids, margin = [_as_id(record["positive"]), _as_id(record["negative"])], _as_score(scores)
        return None if None in (qid, margin, *pids) or pids[0] == pids[1] else (qid, pids, [0.0, -margin], True)
    if not isinstance(docs, list) or not isinstance(scores, list) or len(docs) != len(scores):
        return None
    pids, values = [_as_id(pid) for pid in docs], [_as_score(score) for score in scores]
    return None if None in (qid, *pids, *values) else (qid, pids, values, False)


def _read_parquet(path: Path | str) -> Iterator[Scored]:
    columns = ["query", "passage", "score"]
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: {error}, expected a Parquet file with the columns {', '.join(columns)}") from error
    with file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise InputError(f"{path}: no column {missing[0]}, expected the columns {', '.join(columns)}")
        kinds = [file.schema_arrow.field(name).type for name in columns[:2]]
        if not all(pa.types.is_integer(t) or pa.types.is_string(t) or pa.types.is_large_string(t) for t in kinds):
            raise InputError(f"{path}: ids of the types {kinds[0]} and {kinds[1]}, expected strings or integers")

        def rows() -> Iterator[tuple[str, str, float]]:
            for batch in file.iter_batches(columns=columns):
                ids = [pc.cast(batch[name], pa.string()).to_pylist() for name in columns[:2]]
                scores = pc.cast(batch["score"], pa.float64()).to_pylist()
                for qid, pid, score in zip(*ids, scores, strict=True):
                    if not (is_id(qid) and is_id(pid)) or score is None or not math.isfinite(score):
                        fault = f"query {qid!r}, passage {pid!r}, score {score!r}"
                        raise InputError(f"{path}: a row with {fault}; expected ids and a finite score")
                    yield qid, pid, score

        yield from _together(path, rows())


_READERS: dict[tuple[str, ...], Callable[[Path | str], Iterator[Scored]]] = {
    (".pkl", ".pickle"): _read_pickle,
    (".json",): _read_json,
    (".jsonl",): _read_json_lines,
    (".parquet",): _read_parquet,
    (".tsv",): _read_tsv,
    (".trec", ".run", ".txt"): read_run,
}
