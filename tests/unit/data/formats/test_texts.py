import json
from pathlib import Path

import pytest

from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.texts import read_corpus, read_queries, read_titles, read_tsv
from led_pipeline.files.errors import InputError


def read_all(reader, path: Path, content: str, skip: tuple[str, ...] = ()) -> list:
    path.write_text(content, encoding="utf-8")
    problems = Problems(skip)
    rows = list(reader(path, problems))
    problems.check()
    return rows


def test_tsv_texts_keep_their_characters_and_have_no_title(tmp_path):
    rows = read_all(read_tsv, tmp_path / "c.tsv", '7\t "quoted" \\n text \n008\té\n')
    assert rows == [(1, "7", "", ' "quoted" \\n text '), (2, "008", "", "é")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\ta\n2\n", r":2: 1 column\(s\), expected 2: id TAB text"),
        ("1\ta\tb\n", r":1: 3 column\(s\), expected 2"),
        ("\ta\n", ":1: column 1 is '', expected an id"),
        ("1 2\ta\n", ":1: column 1 is '1 2', expected an id"),
        ("1\t\n", r":1: the text of '1' is empty.*dataset\.skip: \[empty_text\]"),
        ("1\t\u00a0 \n", ":1: the text of '1' is empty"),
    ],
)
def test_error_names_a_bad_tsv_line(tmp_path, content, message):
    with pytest.raises(InputError, match=r"c\.tsv" + message):
        read_all(read_tsv, tmp_path / "c.tsv", content)


def test_a_skipped_empty_text_leaves_its_line_out(tmp_path):
    assert read_all(read_tsv, tmp_path / "c.tsv", "1\t\n2\tb\n", ("empty_text",)) == [(2, "2", "", "b")]


def test_titles_may_be_empty_and_have_more_columns(tmp_path):
    rows = read_all(read_titles, tmp_path / "t.tsv", "1\tOne\ttrain\tx\n2\t\n3\tThree\n")
    assert rows == [(1, "1", "One"), (2, "2", ""), (3, "3", "Three")]


@pytest.mark.parametrize("content", ["1\n", "\tOne\n"])
def test_a_title_needs_an_id_and_a_column(tmp_path, content):
    with pytest.raises(InputError, match=r"t\.tsv:1: .*expected"):
        read_all(read_titles, tmp_path / "t.tsv", content)


def jsonl(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_a_corpus_has_optional_titles_and_ignores_other_keys(tmp_path):
    content = jsonl(
        {"_id": "a", "title": "A", "text": "tab\there\nline", "metadata": {"x": 1}},
        {"_id": "b", "text": "b"},
        {"_id": "c", "title": None, "text": "😀 ud83d"},
        {"_id": "d", "title": "only a title", "text": ""},
    )
    assert read_all(read_corpus, tmp_path / "c.jsonl", content) == [
        (1, "a", "A", "tab\there\nline"),
        (2, "b", "", "b"),
        (3, "c", "", "😀 ud83d"),
        (4, "d", "only a title", ""),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"_id": "a", "text": "x"}\n{"_id": "b", \n', r":2: not valid JSON at column \d+ \(.*\), expected one object"),
        ("[1]\n", ":1: not an object"),
        (jsonl({"text": "x"}), ":1: _id is None, expected an id"),
        (jsonl({"_id": 3.5, "text": "x"}), ":1: _id is 3.5, expected an id: a string"),
        (jsonl({"_id": True, "text": "x"}), ":1: _id is True, expected an id: a string"),
        (jsonl({"_id": "a b", "text": "x"}), ":1: _id is 'a b'"),
        (jsonl({"_id": "a", "title": "t"}), ":1: text is None, expected a string"),
        (jsonl({"_id": "a", "text": "x", "title": 0}), ":1: title is 0, expected a string"),
        (jsonl({"_id": "a", "title": " ", "text": ""}), r":1: the title and the text of 'a' are empty.*empty_text"),
        ('{"_id": "a", "text": "\\uD800"}\n', r":1: .*surrogate.*bad_utf8"),
        ('{"_id": "a", "text": "x", "title": "\\udc00 x"}\n', r":1: .*surrogate.*bad_utf8"),
    ],
)
def test_error_names_a_bad_corpus_line(tmp_path, content, message):
    with pytest.raises(InputError, match=r"c\.jsonl" + message):
        read_all(read_corpus, tmp_path / "c.jsonl", content)


def test_a_query_needs_text_whatever_its_title(tmp_path):
    with pytest.raises(InputError, match=r"q\.jsonl:2: the text of 'b' is empty"):
        read_all(
            read_queries, tmp_path / "q.jsonl", jsonl({"_id": "a", "text": "x"}, {"_id": "b", "title": "t", "text": ""})
        )
