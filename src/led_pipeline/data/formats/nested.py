"""Read files that hold one object: {query id: {passage id: number}}, or {query id: [passage id, ...]}.

They are JSON or pickles, compressed or not, and are read at once. Ids are strings or integers. A pickle is read through
module `pickles`, which runs no code.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.lines import bad_id, is_id, short
from led_pipeline.data.formats.pickles import read_pickle
from led_pipeline.data.formats.streams import plain_name, read_whole
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import NotJson, parse_json, reading

PICKLES = (".pkl", ".pickle")
NESTED = (*PICKLES, ".json")

_LARGEST_ID = 10**18  # bound of integer ids
_GRADES = "{query id: {passage id: grade}}"
_LISTS = "{query id: [passage id, ...]}"


def read_object(path: Path | str) -> Any:
    """Return the value in a .json file, or in a pickle by its ending.

    Raises:
        InputError: the file is damaged, or larger than the limit for files that are read at once.
    """
    if plain_name(path).endswith(PICKLES):
        return read_pickle(path)
    raw = read_whole(path)
    with reading(path, "UTF-8 text; write it again"):
        text = raw.decode("utf-8-sig")
    try:
        return parse_json(text)
    except NotJson as error:
        raise InputError(f"{path}:{error.line}: {error}; write it again") from error


def as_id(value: Any) -> str | None:
    """Return an id, which may be an integer, as a string, or None if it is not a valid one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _LARGEST_ID else None
    return value if is_id(value) else None


def as_ids(values: Iterable[Any]) -> list[str] | None:
    """Return ids as strings, or None if one of them is not valid."""
    ids = [as_id(value) for value in values]
    valid = [each for each in ids if each is not None]
    return valid if len(valid) == len(ids) else None


def read_nested_qrels(path: Path | str) -> Iterator[tuple[None, str, str, Any]]:
    """Yield (None, qid, pid, grade) of a file {query id: {passage id: grade}}; the caller checks the grades.

    Raises:
        InputError: the file holds anything else.
    """
    for qid, grades in _entries(path, _GRADES):
        if not isinstance(grades, dict):
            raise InputError(f"{path}: query '{qid}' has {short(grades)}; expected {_GRADES}")
        pids = _passage_ids(path, qid, grades, _GRADES)
        yield from ((None, qid, pid, grade) for pid, grade in zip(pids, grades.values(), strict=True))


def read_nested_lists(path: Path | str) -> Iterator[tuple[str, list[str]]]:
    """Yield each query of a file {query id: [passage id, ...]}, such as LED's pickles of negatives.

    Raises:
        InputError: the file holds anything else.
    """
    for qid, passages in _entries(path, _LISTS):
        if not isinstance(passages, list):
            raise InputError(f"{path}: query '{qid}' has {short(passages)}; expected {_LISTS}")
        yield qid, _passage_ids(path, qid, passages, _LISTS)


def _passage_ids(path: Path | str, qid: str, passages: Any, shape: str) -> list[str]:
    """Return the passage ids of a query; one that is not valid is an error."""
    pids = as_ids(passages)
    if pids is None:
        raise InputError(f"{path}: {_bad_passage(qid, passages)}; expected {shape}")
    return pids


def _entries(path: Path | str, shape: str) -> Iterator[tuple[str, Any]]:
    """Yield the query ids of an object and their values."""
    content = read_object(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: it holds a {type(content).__name__}, expected {shape}")
    for query, value in content.items():
        qid = as_id(query)
        if qid is None:
            raise InputError(f"{path}: {bad_id(query, 'a query is')}; expected {shape}")
        yield qid, value


def _bad_passage(qid: str, values: Iterable[Any]) -> str:
    """Return the sentence about the first passage of a query that is not an id."""
    return bad_id(next(value for value in values if as_id(value) is None), f"a passage of query '{qid}' is")
