"""Runs from elsewhere become rankings, whatever their format; unknown ids are errors with their line, or skipped."""

import gzip
import json
import sys

import pytest

from led_pipeline.data import runs
from led_pipeline.data.tables import read_ranking, write_strings
from led_pipeline.files.errors import InputError

# Passage p1 is row 1 of d, p1, p2, p3; query q2 has no result, and two scores are equal.
EXPECTED = [(0, [1, 3, 2], [2.5, 1.0, 1.0]), (1, [2, 0], [-1.0, -3.0]), (2, [], [])]
TREC = "q1 Q0 p2 1 -1 x\nq1 Q0 d 2 -3 x\nq0 Q0 p1 1 2.5 x\nq0 Q0 p3 2 1 x\nq0 Q0 p2 3 1 x\n"
SCORES = {"q1": {"d": -3, "p2": -1}, "q0": {"p3": 1.0, "p1": 2.5, "p2": 1.0}}  # as SPLADE writes its run.json


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Call the command on a file and return the ranking as lists."""
    write_strings(tmp_path / "queries.parquet", [{"id": ["q0", "q1", "q2"], "text": ["a"] * 3}], ["id", "text"])
    ids = ["d", "p1", "p2", "p3"]
    write_strings(tmp_path / "passages.parquet", [{"id": ids, "title": ids, "text": ids}], ["id", "title", "text"])

    def call(name, content, *more, hits=10):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        out = tmp_path / "out" / "ranking.parquet"
        command = ["runs", "--file", tmp_path / name, "--hits", hits, "--out", out, *more]
        command += [part for kind in ("queries", "passages") for part in (f"--{kind}", tmp_path / f"{kind}.parquet")]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        try:
            runs.main()
        except InputError:
            assert not out.exists(), "nothing is written of a bad run"
            raise
        return [(query, rows.tolist(), scores.tolist()) for query, rows, scores in read_ranking(out)]

    return call


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.trec", TREC),
        ("run.txt.gz", gzip.compress(TREC.encode(), mtime=0)),
        ("run.json", json.dumps(SCORES)),
        ("run.json.gz", gzip.compress(json.dumps(SCORES).encode(), mtime=0)),
        ("run.tsv", "".join(f"{q}\t{p}\t{s}\n" for q, scores in SCORES.items() for p, s in scores.items())),
    ],
    ids=["trec", "trec.gz", "json", "json.gz", "tsv"],
)
def test_every_format_of_a_run_gives_the_same_ranking_of_every_query(store, name, content):
    assert store(name, content) == EXPECTED


def test_the_first_passages_are_kept(store):
    assert store("run.trec", TREC, hits=1) == [(0, [1], [2.5]), (1, [2], [-1.0]), (2, [], [])]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("run.trec", TREC + "q2 Q0 p1 1 5 x\nq2 Q0 p9 2 4 x\n", ":7: passage 'p9' is ranked but not in the collection"),
        ("run.json", json.dumps(SCORES | {"q2": {"p9": 1}}), ": passage 'p9' is ranked but not in the collection"),
        ("r.tsv", "q0\tp1\t2\nq0\tp9\t1\n", ":2: passage 'p9' is ranked but not in the collection, expected it there"),
        (
            "r.jsonl",
            '{"query": "q0", "docs": ["p1"], "scores": [2]}\n{"query": "q1", "docs": ["p1", "p9"], "scores": [2, 1]}\n',
            ":2: passage 'p9' is ranked but not in the collection",
        ),
        ("run.trec", TREC + "q2 Q0 P1 1 5 x\n", ":6: passage 'P1' is ranked but not in the collection, where 'p1' is"),
        ("run.trec", "q7 Q0 p1 1 5 x\n" + TREC, ":1: query 'q7' is ranked but not among the queries of this split"),
        ("run.trec", "q0 Q0 p1 1\n", ":1: 4 column(s), expected 6: qid Q0 pid rank score tag"),
    ],
)
def test_error_names_the_file_and_the_line_of_an_unknown_id(store, tmp_path, name, content, place):
    with pytest.raises(InputError) as error:
        store(name, content)
    assert str(error.value).startswith(f"{tmp_path / name}{place}")


def test_unknown_ids_may_be_skipped_and_are_counted(store, capsys):
    more = TREC + "q2 Q0 p9 1 5 x\nq7 Q0 p1 1 5 x\nq7 Q0 p2 2 4 x\n"
    with pytest.raises(InputError, match=r"dataset.skip: \[run_without_passage, run_without_query\]"):
        store("run.trec", more, "--skip", "run_without_passage")
    assert store("run.trec", more, "--skip", "run_without_passage", "run_without_query") == EXPECTED
    output = capsys.readouterr().out
    assert "2 of 3 queries with 5 passages" in output
    assert "skipped 1 line(s) with run_without_passage" in output
    assert "skipped 2 line(s) with run_without_query" in output


@pytest.mark.parametrize("content", ["", "q7 Q0 p1 1 5 x\n"])
def test_a_run_of_other_queries_is_an_error(store, content):
    with pytest.raises(InputError, match="it ranks no passage for a query of this split"):
        store("run.trec", content, "--skip", "run_without_query")
