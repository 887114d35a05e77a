"""Read and write judgements, rankings and negatives as text files; `texts` reads passages and queries.

| file | one line | reader, writer |
|---|---|---|
| TREC qrels | `qid 0 pid grade` | `read_qrels`, `load_qrels`, `write_qrels` |
| BEIR qrels | `qid TAB pid TAB grade` under its header | `read_qrels` |
| .json | `{qid: {pid: grade}}`, as SPLADE reads them; module `nested` | `read_qrels` |
| .csv, .jsonl, .parquet, .arrow | columns query-id, corpus-id, score; module `records` | `read_qrels` |
| TREC run | `qid Q0 pid rank score tag`, best first | `read_run`, `write_run` |
| lists of negatives | `qid TAB pid,pid,...` | `read_negatives` |
| MS MARCO id triples | `qid TAB positive TAB negative` | `read_negatives` |
| .pkl, .pickle, .json | `{qid: [pid, ...]}`, as LED publishes them; module `nested` | `read_negatives` |

Readers stream, compressed or not. `read_qrels` reports to the caller's `Problems` (module `lines`); the other readers
raise one `InputError` after the last line.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from led_pipeline.data.formats.examples import read_example_negatives, read_example_qrels
from led_pipeline.data.formats.headers import header_fault, is_header
from led_pipeline.data.formats.lines import DEFECTS, MALFORMED, Problems, bad_id, is_id, read_lines
from led_pipeline.data.formats.nested import NESTED, read_nested_lists, read_nested_qrels
from led_pipeline.data.formats.numbers import as_grade, grade_fault, read_score, text_fault
from led_pipeline.data.formats.records import Names, kind_of, read_records
from led_pipeline.data.formats.streams import plain_name
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits

Judgement = tuple[int | None, str, str, int]  # line number (None: the file has no lines), qid, pid, grade

_BEIR_QRELS_HEADER = ["query-id", "corpus-id", "score"]
# Names of the columns of queries, passages and grades in tables, CSV and JSON lines.
_QRELS_NAMES = (
    ("query-id", "query_id", "qid"),
    ("corpus-id", "corpus_id", "docid", "doc_id", "pid", "passage_id"),
    ("score", "grade", "relevance", "label"),
)
_BEIR_HINT = f"or, in BEIR's format, the header {' TAB '.join(_BEIR_QRELS_HEADER)} in line 1"
_INFINITY_BITS = 0x7F80_0000  # of a 32-bit float


def read_qrels(
    path: Path | str,
    problems: Problems,
    grades: dict[str, dict[str, int]] | None = None,
    examples: bool = False,
) -> Iterator[Judgement]:
    """Yield the judgements of a file in any of the formats above.

    A pair that is repeated with the same grade, as are ten of MS MARCO's training judgements, is noted and left out;
    one with another grade is a duplicate_id, and the first of the two counts.

    Args:
        grades: an empty dictionary that gets the grades by qid and pid, for callers that need them; those of an earlier
            file, for callers that join files.
        examples: read .jsonl, .csv and tables as training examples that hold texts (module `examples`).
    """
    earlier = {} if grades is None else grades
    for number, qid, pid, value in _rows(path, problems, examples):
        grade = as_grade(value)
        if not (is_id(qid) and is_id(pid)):
            problems.add(MALFORMED, path, number, bad_id(pid if is_id(qid) else qid, "there is"))
        elif grade is None:
            problems.add(MALFORMED, path, number, grade_fault(value))
        elif pid not in earlier.setdefault(qid, {}):
            earlier[qid][pid] = grade
            yield number, qid, pid, grade
        elif (before := earlier[qid][pid]) == grade:
            if not examples:
                problems.note("repeated_judgement", path)
        else:
            fault = f"query '{qid}' and passage '{pid}' have grade {grade} here and {before}"
            if problems.needs_sentence("duplicate_id"):  # once in a file
                fault += f" {_place_of(path, number, qid, pid)}, expected one grade for every pair"
            problems.add("duplicate_id", path, number, fault)


def _rows(path: Path | str, problems: Problems, examples: bool) -> Iterator[tuple[int | None, Any, Any, Any]]:
    """Yield line number, query, passage and grade of every judgement of a file, by its ending, all unchecked."""
    if plain_name(path).endswith(".json"):
        yield from read_nested_qrels(path)
    elif kind_of(path, "tab") == "tab":
        yield from _read_qrels_lines(path, problems)
    elif examples:
        yield from read_example_qrels(path, problems)
    else:
        names = Names(None, _QRELS_NAMES[0], tuple(chain(*_QRELS_NAMES)), header="query-id, corpus-id, score")
        for number, record in read_records(path, problems, names):
            values = [next((record[name] for name in names if name in record), None) for names in _QRELS_NAMES]
            qid, pid = (str(value) if type(value) is int else value for value in values[:2])
            yield number, qid, pid, values[2]


def read_ids(path: Path | str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield the ids in a file, with their line numbers: each line, or the first of its tab-separated columns."""
    for number, line in read_lines(path, problems):
        columns = line.split("\t")
        if is_header(columns, number):
            problems.add("header_line", path, number, header_fault(columns, "an id"))
        elif is_id(columns[0]):
            yield number, columns[0]
        else:
            problems.add(MALFORMED, path, number, bad_id(columns[0], "there is"))


def _read_qrels_lines(path: Path | str, problems: Problems) -> Iterator[tuple[int | None, str, str, str]]:
    """Yield TREC's four columns, or BEIR's three if the first line is BEIR's header, without the unused one."""
    beir: bool | None = None
    for number, line in read_lines(path, problems):
        if beir is None:
            beir = line.split("\t") == _BEIR_QRELS_HEADER
            if beir:
                continue
        columns = line.split("\t") if beir else line.split()
        if (beir or len(columns) == 4) and is_header(columns, number):
            problems.add("header_line", path, number, header_fault(columns, "a judgement"))
        elif len(columns) != (3 if beir else 4):
            shape = "3 between tabs, as in the header" if beir else f"4: qid 0 pid grade ({_BEIR_HINT})"
            problems.add(MALFORMED, path, number, f"{len(columns)} column(s), expected {shape}")
        else:
            yield number, columns[0], columns[-2], columns[-1]


def _place_of(path: Path | str, number: int | None, qid: str, pid: str) -> str:
    """Say where the first judgement of a pair is: in a line of this file before `number`, or in an earlier file."""
    rows = read_qrels(path, Problems(DEFECTS))
    line = next((line for line, query, passage, _ in rows if (query, passage) == (qid, pid)), number)
    return "in an earlier file" if line == number else f"in line {line}"


def load_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """Return the grades of a qrels file by qid and pid.

    Raises:
        InputError: the file has a problem of any kind.
    """
    problems = Problems()
    grades: dict[str, dict[str, int]] = {}
    for _ in read_qrels(path, problems, grades):
        pass
    problems.check()
    return grades


def write_qrels(path: Path | str, judgements: Iterable[tuple[str, str, int]]) -> None:
    """Write (qid, pid, grade) as TREC qrels with tabs."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{qid}\t0\t{pid}\t{grade}\n" for qid, pid, grade in judgements)


def strictly_decreasing(scores: ArrayLike) -> NDArray[np.float32]:
    """Lower tied scores, each to the next smaller 32-bit float, so that no two are equal and the order stays.

    trec_eval reads scores as C floats and breaks ties by id; without ties it keeps the order of the scores.

    Raises:
        ValueError: a score is not finite in 32 bits, no smaller float is left below the last score, or the scores rise.
    """
    with np.errstate(over="ignore"):
        narrow = np.asarray(scores, dtype=np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError(f"score {np.asarray(scores)[~np.isfinite(narrow)][0]} is not finite in 32 bits")
    # The bits of a float, with the sign applied, number all floats in order: one less is the next smaller float.
    bits = narrow.view(np.int32).astype(np.int64)
    place = np.where(bits < 0, -(bits + 2**31), bits)
    if (np.diff(place) > 0).any():
        raise ValueError("a score is higher than the one before it, expected best first")
    rank = np.arange(len(place))
    place = np.minimum.accumulate(place + rank) - rank
    if len(place) and place[-1] <= -_INFINITY_BITS:
        raise ValueError("tied scores at the lowest 32-bit float leave no room below")
    return np.where(place < 0, -place - 2**31, place).astype(np.int32).view(np.float32)


def write_run(path: Path | str, rankings: Iterable[tuple[str, Sequence[str], ArrayLike]], tag: str) -> None:
    """Write (qid, pids best first, their scores) as a TREC run; ties are lowered by `strictly_decreasing`.

    Raises:
        InputError: a score is not finite or higher than the one before it, or a query or one of its passages is
            repeated.
    """
    if not is_id(tag):
        raise ValueError(bad_id(tag, "the run's tag is"))
    qids: set[str] = set()
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for qid, pids, scores in rankings:
            if qid in qids or len(set(pids)) != len(pids):
                raise InputError(
                    f"{path}: query '{qid}' or one of its passages comes twice, expected once; check the ranking"
                )
            qids.add(qid)
            try:
                lowered = strictly_decreasing(scores).tolist()
            except ValueError as error:
                raise InputError(f"{path}: query '{qid}': {error}; check the model that scored it") from error
            # Nine significant digits identify a 32-bit float.
            file.writelines(
                f"{qid} Q0 {pid} {rank} {score:.9g} {tag}\n"
                for rank, (pid, score) in enumerate(zip(pids, lowered, strict=True), start=1)
            )


def read_run(path: Path | str) -> Iterator[tuple[str, list[str], list[float]]]:
    """Yield each query of a TREC run with its passages, best first, and their scores.

    Raises:
        InputError: at the end, if a line is malformed, scores rise, or a query or one of its passages is repeated.
    """
    problems = Problems()
    qids: set[str] = set()
    for qid, group in groupby(_read_run_rows(path, problems), key=itemgetter(1)):
        rows = list(group)
        pids, scores = [row[2] for row in rows], [row[3] for row in rows]
        first = rows[0][0]
        if qid in qids:
            problems.add(MALFORMED, path, first, f"query '{qid}' comes again, expected its lines next to one another")
        if len(set(pids)) != len(pids):
            problems.add(MALFORMED, path, first, f"a passage of query '{qid}' comes twice from here on, expected once")
        if any(after > before for before, after in pairwise(scores)):
            problems.add(MALFORMED, path, first, f"the scores of query '{qid}' rise from here on, expected best first")
        qids.add(qid)
        yield qid, pids, scores
    problems.check()


def _read_run_rows(path: Path | str, problems: Problems) -> Iterator[tuple[int, str, str, float]]:
    longest = limits().id
    for number, line in read_lines(path, problems):
        columns = line.split()
        if len(columns) != 6:
            fault = f"{len(columns)} column(s), expected 6: qid Q0 pid rank score tag"
            problems.add(MALFORMED, path, number, fault)
            continue
        score = read_score(columns[4])
        # Ids in a short line without NUL are always valid: runs are long, and this one test saves two.
        if ("\0" in line or len(line) > longest) and not (is_id(columns[0]) and is_id(columns[2])):
            problems.add(MALFORMED, path, number, bad_id(columns[2] if is_id(columns[0]) else columns[0], "there is"))
        elif score is None:
            problems.add(MALFORMED, path, number, text_fault(columns[4]))
        else:
            yield number, columns[0], columns[2], score


def read_negatives(path: Path | str, examples: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield each query of published negatives with its passages, in file order and without repetition.

    A name that ends in .pkl, .pickle or .json means {qid: [pid, ...]}; in any other file, the first line tells lists (2
    columns) from triples (3 columns). A query is yielded once per block of adjacent lines, since MS MARCO does not
    promise that its triples are sorted by query.

    Args:
        examples: the file holds training examples with texts (module `examples`).

    Raises:
        InputError: at the end, if a line is malformed.
    """
    if examples and kind_of(path, "tab") != "tab":
        yield from read_example_negatives(path)
        return
    if plain_name(path).endswith(NESTED):
        yield from ((qid, list(dict.fromkeys(pids))) for qid, pids in read_nested_lists(path))
        return
    problems = Problems()
    for qid, group in groupby(_read_negative_rows(path, problems), key=itemgetter(0)):
        yield qid, list(dict.fromkeys(pid for row in group for pid in row[1]))
    problems.check()


def _read_negative_rows(path: Path | str, problems: Problems) -> Iterator[tuple[str, list[str]]]:
    width = 0
    for number, line in read_lines(path, problems):
        columns = line.split("\t")
        width = width or (3 if len(columns) == 3 else 2)
        if len(columns) != width:
            shape = "3: qid TAB positive TAB negative" if width == 3 else "2: qid TAB pid,pid,..."
            problems.add(MALFORMED, path, number, f"{len(columns)} column(s), expected {shape}")
            continue
        if is_header(columns, number):
            problems.add(MALFORMED, path, number, header_fault(columns, "a query's negatives"))
            continue
        pids = columns[2:] if width == 3 else columns[1].split(",")
        wrong = next((name for name in (columns[0], *pids) if not is_id(name)), None)
        if wrong is None:
            yield columns[0], pids
        else:
            problems.add(MALFORMED, path, number, bad_id(wrong, "there is"))
