"""Judgements and negatives in one object of JSON or of a pickle."""

import gzip
import json
import os
import pickle

import pytest

from led_pipeline.data.formats.judgements import load_qrels, read_negatives, read_qrels
from led_pipeline.data.formats.lines import Problems
from led_pipeline.files.errors import InputError

GRADES = {"q1": {"p1": 1, "p2": 0}, "q2": {"p1": -2}}


def write(path, content: str | bytes):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["qrel.json", "qrel.json.gz"])
def test_qrels_may_be_an_object_of_json_as_splade_reads_them(tmp_path, name):
    assert load_qrels(write(tmp_path / name, json.dumps(GRADES))) == GRADES


def test_a_whole_number_of_json_is_a_grade_however_it_is_written(tmp_path):
    assert load_qrels(write(tmp_path / "qrel.json", '{"q": {"p": 2.0, "r": "1"}}')) == {"q": {"p": 2, "r": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"it holds a list, expected {query id: {passage id: grade}}"),
        ('{"q": ["p"]}', r"query 'q' has \['p'\]; expected {query id: {passage id: grade}}"),
        ('{"q": {"p": 0.5}}', "grade 0.5, expected a whole number; correct the file"),
        ('{"q": {"p": true}}', "grade True, expected a whole number"),
        ('{"q": {"p": null}}', "grade None, expected a whole number"),
        ('{"q": {"p": 99999}}', "grade 99999 is more than the 1,000 that LED_LIMITS allows"),
        ('{"q 1": {"p": 1}}', "a query is 'q 1', expected an id"),
        ('{"q": {"p 1": 1}}', "a passage of query 'q' is 'p 1', expected an id"),
        ('{"q": {"p": 1, "p": 2}}', "the key 'p' comes twice"),
        ('{"q": {"p": 1}', "not valid JSON"),
    ],
)
def test_error_names_the_fault_of_qrels_in_json(tmp_path, content, message):
    with pytest.raises(InputError, match=r"qrel\.json(:1)?: .*" + message):
        load_qrels(write(tmp_path / "qrel.json", content))


def test_a_pair_that_two_joined_files_grade_differently_is_reported_with_its_place(tmp_path):
    grades: dict = {}
    problems = Problems()
    for name, content in {"a.tsv": "q1 0 p1 1\n", "b.json": '{"q1": {"p1": 2}}', "c.tsv": "q9 0 p1 1\n"}.items():
        list(read_qrels(write(tmp_path / name, content), problems, grades))
    with pytest.raises(InputError, match=r"b\.json: query 'q1' and passage 'p1' have grade 2 here and 1 in an earlier"):
        problems.check()
    assert grades == {"q1": {"p1": 1}, "q9": {"p1": 1}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_negatives_may_be_a_pickle_of_lists_as_led_publishes_them(tmp_path, protocol):
    content = {7: [3, 1, 3, 2], 12: [10**9]}
    path = write(tmp_path / "hard.pkl.gz", pickle.dumps(content, protocol))
    assert list(read_negatives(path)) == [("7", ["3", "1", "2"]), ("12", ["1000000000"])]


def test_negatives_may_be_an_object_of_json(tmp_path):
    path = write(tmp_path / "hard.json", '{"7": ["3", "1"], "8": []}')
    assert list(read_negatives(path)) == [("7", ["3", "1"]), ("8", [])]


class _Call:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"q": _Call()}, "asks for .*system.*nothing of it was run"),
        ([1], "it holds a list, expected {query id: "),
        ({7: {3: 1.0}}, r"query '7' has {3: 1.0}; expected {query id: \[passage id, ...\]}"),
        ({7: [3, 1.5]}, "a passage of query '7' is 1.5, expected an id"),
        ({None: [3]}, "a query is None, expected an id"),
        ({7: [(3, 1.0)]}, "a tuple among its values"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"hard\.pkl: .*" + message):
        list(read_negatives(write(tmp_path / "hard.pkl", pickle.dumps(content))))
    assert not (tmp_path / "ran").exists()
