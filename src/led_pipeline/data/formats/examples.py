"""Read training examples that hold texts in place of ids: passages, queries, qrels, negatives and scores.

| record | what it has |
|---|---|
| `{"query": TEXT, "pos": TEXT, "negs": [TEXT, ...]}` | a positive, or a list of them, and negatives |
| `{"query": TEXT, "docs": [TEXT, ...], "scores": [SCORE, ...]}` | passages with a teacher's scores |

OpenSearch, sentence-transformers (anchor, positive, negative) and Tevatron (query, positive_passages,
negative_passages) write the first, OpenSearch the second; NAMES has all names. In place of a text there may be an
object with `text`, `title` and an id. A text without an id gets one, the hash of its content, so that equal texts are
one passage, in whatever file or order they come. A record without a query, but with an id and a text, is a passage.

Where a query has scores and no positive, the passage with its highest score counts as relevant.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.formats.lines import MALFORMED, Problems, bad_id, is_encodable, short
from led_pipeline.data.formats.nested import as_id
from led_pipeline.data.formats.numbers import as_score, score_fault
from led_pipeline.data.formats.records import Names, Record, read_records
from led_pipeline.data.formats.texts import Text, empty, passages_of

NAMES = {  # our name -> the names in published files
    "query": ("query", "anchor", "question"),
    "pos": ("pos", "positive", "positives", "positive_passages"),
    "negs": ("negs", "neg", "negative", "negatives", "negative_passages"),
    "docs": ("docs", "documents", "passages"),
    "scores": ("scores",),
}
_QUERY_IDS = ("query_id", "qid", "_id", "id")
_PASSAGE_IDS = ("docid", "_id", "id", "pid")
_MORE_NEGATIVES = re.compile(r"negative_\d+")  # columns of sentence-transformers
_NUMBERED = tuple(f"negative_{i}" for i in range(1, 101))
_SHAPES = 'expected {"query", "pos", "negs"} or {"query", "docs", "scores"} with texts'


class Part(NamedTuple):
    """A query or a passage of an example."""

    id: str
    title: str
    text: str

    @property
    def blank(self) -> bool:
        return is_blank(self.text) and is_blank(self.title)


@dataclass(frozen=True)
class Example:
    """The texts of one record."""

    query: Part
    positives: list[Part] = field(default_factory=list)
    negatives: list[Part] = field(default_factory=list)
    scored: dict[Part, float] = field(default_factory=dict)


class _NoExample(ValueError):
    """A record is not an example; the message says why."""


def generated_id(title: str, text: str) -> str:
    """Return the id of a text that has none: 32 hexadecimal digits, the same for the same title and text."""
    content = f"{title}\0{text}" if title else text
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def read_examples(path: Path | str, problems: Problems) -> Iterator[tuple[int, Example]]:
    """Yield the examples of a file with their line numbers; passages of their own are left out."""
    for number, record in _records(path, problems):
        if _value(record, "query") is None and _is_text(record):
            continue
        try:
            yield number, _example(record)
        except _NoExample as error:
            problems.add(MALFORMED, path, number, str(error))


def read_example_passages(path: Path | str, problems: Problems) -> Iterator[Text]:
    """Yield all passages of a file's examples, in order and as often as they come, and the passages of their own."""
    for number, record in _records(path, problems):
        if _value(record, "query") is None and _is_text(record):
            yield from passages_of([(number, record)], path, problems)
            continue
        try:
            example = _example(record)
        except _NoExample as error:
            problems.add(MALFORMED, path, number, str(error))
            continue
        for part in (*example.positives, *example.negatives, *example.scored):
            if part.blank:
                problems.add("empty_text", path, number, f"a passage of the example is empty ({part.text[:20]!r})")
            else:
                yield number, part.id, part.title, part.text


def read_example_queries(path: Path | str, problems: Problems) -> Iterator[Text]:
    """Yield the queries of a file's examples, in order and as often as they come."""
    for number, example in read_examples(path, problems):
        if example.query.blank:
            problems.add("empty_text", path, number, empty(example.query.id, example.query.text))
        else:
            yield number, example.query.id, "", example.query.text


def read_example_qrels(path: Path | str, problems: Problems) -> Iterator[tuple[int, str, str, int]]:
    """Yield line, query, passage and grade: 1 for positives, and for the best of a query with scores alone.

    Memory: the best passage of each query with scores.
    """
    positive: set[tuple[str, str]] = set()
    best: dict[str, tuple[float, int, str]] = {}
    with_positive: set[str] = set()
    for number, example in _with_query(path, problems):
        qid = example.query.id
        for part in example.positives:
            if not part.blank and (qid, part.id) not in positive:
                positive.add((qid, part.id))
                with_positive.add(qid)
                yield number, qid, part.id, 1
        for part, score in example.scored.items():
            if not part.blank and (qid not in best or score > best[qid][0]):
                best[qid] = score, number, part.id
    yield from ((number, qid, pid, 1) for qid, (_, number, pid) in best.items() if qid not in with_positive)


def read_example_negatives(path: Path | str) -> Iterator[tuple[str, list[str]]]:
    """Yield the negatives of each example; a query may come several times.

    Raises:
        InputError: at the end, if a record is no example.
    """
    problems = Problems()
    for _, example in _with_query(path, problems):
        yield example.query.id, list(dict.fromkeys(part.id for part in example.negatives if not part.blank))
    problems.check()


def read_example_scores(path: Path | str) -> Iterator[tuple[str, list[str], list[float]]]:
    """Yield the passages and scores of each query, which may come in several examples.

    Memory: all scores as Python objects.

    Raises:
        InputError: a record is no example, a pair has two scores, or no example has scores.
    """
    problems = Problems()
    scores: dict[str, dict[str, float]] = {}
    for number, example in _with_query(path, problems):
        of_query = scores.setdefault(example.query.id, {})
        for part, score in example.scored.items():
            if not part.blank and of_query.setdefault(part.id, score) != score:
                fault = f"passage {short(part.text)} of query {short(example.query.text)} has the score {score} here"
                problems.add(MALFORMED, path, number, f"{fault} and {of_query[part.id]} earlier, expected one")
    if not any(scores.values()):
        problems.add(MALFORMED, path, None, 'no example has scores, expected {"query", "docs", "scores"}')
    problems.check()
    yield from ((qid, list(of_query), list(of_query.values())) for qid, of_query in scores.items() if of_query)


def _with_query(path: Path | str, problems: Problems) -> Iterator[tuple[int, Example]]:
    """Yield the examples whose query is not blank; `read_example_queries` reports the others."""
    return ((number, example) for number, example in read_examples(path, problems) if not example.query.blank)


def _records(path: Path | str, problems: Problems) -> Iterator[Record]:
    values = (*(name for names in NAMES.values() for name in names), *_NUMBERED, *_QUERY_IDS, *_PASSAGE_IDS)
    some, shapes = (*NAMES["query"], *_PASSAGE_IDS), "query, pos, negs, or query, docs, scores, or id, text"
    return read_records(path, problems, Names(None, some, (*values, "title", "text"), header=shapes))


def _value(record: dict[str, Any], name: str) -> Any:
    """Return the value that a record has under one of the names of ours."""
    return next((record[each] for each in NAMES[name] if record.get(each) is not None), None)


def _is_text(record: dict[str, Any]) -> bool:
    return "text" in record and any(record.get(name) is not None for name in _PASSAGE_IDS)


def _example(record: dict[str, Any]) -> Example:
    """Return the example in a record.

    Raises:
        _NoExample: a part is missing, or is no text.
    """
    query, docs, scores = (_value(record, name) for name in ("query", "docs", "scores"))
    if query is None:
        raise _NoExample(f"no query, {_SHAPES}; there are {', '.join(record) or 'no keys'}")
    text = _part(query, "the query", ())
    raw_id = next((record[name] for name in _QUERY_IDS if record.get(name) is not None), None)
    if raw_id is not None:
        text = text._replace(id=_checked_id(raw_id, "the query's id is"))
    positives = _parts(_value(record, "pos"), "a positive")
    negatives = _parts(_value(record, "negs"), "a negative")
    numbered = sorted((name for name in record if _MORE_NEGATIVES.fullmatch(name)), key=lambda name: int(name[9:]))
    negatives += [part for name in numbered for part in _parts(record[name], name)]
    if (docs is None) != (scores is None):
        missing, other = ("docs", "scores") if docs is None else ("scores", "docs")
        raise _NoExample(f"{other} without {missing}, {_SHAPES}")
    passages = _parts(docs, "a passage of docs")
    values = (scores if isinstance(scores, list) else [scores]) if scores is not None else []
    if len(passages) != len(values):
        raise _NoExample(f"{len(passages)} docs and {len(values)} scores, expected as many")
    if not positives and not passages:
        raise _NoExample(f"neither pos nor docs, {_SHAPES}")
    if wrong := [value for value in values if as_score(value) is None]:
        raise _NoExample(score_fault(wrong[0]))
    scored: dict[Part, float] = {}
    for part, value in zip(passages, values, strict=True):
        if scored.setdefault(part, float(value)) != value:
            raise _NoExample(f"passage {short(part.text)} has the scores {scored[part]} and {value}, expected one")
    return Example(text, positives, negatives, scored)


def _parts(value: Any, subject: str) -> list[Part]:
    """Return the passages of a value: a text, an object, or a list of them."""
    if value is None:
        return []
    return [_part(each, subject, _PASSAGE_IDS) for each in (value if isinstance(value, list) else [value])]


def _part(value: Any, subject: str, id_names: tuple[str, ...]) -> Part:
    """Return a text of an example, with its id."""
    entry = value if isinstance(value, dict) else {"text": value}
    text, title = entry.get("text"), entry.get("title")
    title = "" if title is None else title
    if not isinstance(text, str) or not isinstance(title, str):
        raise _NoExample(f"{subject} is {short(value)}, expected a text, or an object with a text")
    if not (text.isascii() and title.isascii()) and not is_encodable(title + text):
        raise _NoExample(f"{subject} has half a surrogate pair in a \\u escape, expected both halves")
    raw_id = next((entry[name] for name in id_names if entry.get(name) is not None), None)
    identifier = generated_id(title, text) if raw_id is None else _checked_id(raw_id, f"the id of {subject} is")
    return Part(identifier, title, text)


def _checked_id(value: Any, subject: str) -> str:
    identifier = as_id(value)
    if identifier is None:
        raise _NoExample(bad_id(value, subject))
    return identifier
