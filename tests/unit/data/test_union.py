"""Joined splits: their queries and judgements in order, without queries that teach nothing."""

import json
import sys

import pytest

from led_pipeline.data import union
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import read_column, write_strings
from led_pipeline.files.errors import InputError


def save_split(folder, name: str, queries: dict[str, str], judged: dict[str, dict[str, int]]) -> None:
    write_strings(folder / f"{name}.parquet", [{"id": [*queries], "text": [*queries.values()]}], ["id", "text"])
    lines = [f"{qid}\t0\t{pid}\t{grade}\n" for qid, grades in judged.items() for pid, grade in grades.items()]
    (folder / f"{name}.qrels").write_text("".join(lines))


def joined(folder, *names: str) -> dict:
    tables, qrels = ([folder / f"{name}.{end}" for name in names] for end in ("parquet", "qrels"))
    return union.join(names, tables, qrels, (folder / "train.parquet", folder / "train.qrels"))


def test_queries_and_judgements_follow_each_other_and_a_query_without_a_positive_is_left_out(tmp_path):
    save_split(tmp_path, "nq", {"n1": "wer", "n2": "was", "n3": "wo"}, {"n1": {"p1": 1, "p2": 0}, "n2": {"p1": 0}})
    save_split(tmp_path, "squad", {"s2": "wie", "s1": "wann"}, {"s1": {"p2": 3}, "s2": {"p9": 1}})
    note = joined(tmp_path, "squad", "nq")
    assert read_column(tmp_path / "train.parquet", "id") == ["s2", "s1", "n1"]
    assert read_column(tmp_path / "train.parquet", "text") == ["wie", "wann", "wer"]
    assert load_qrels(tmp_path / "train.qrels") == {"s1": {"p2": 3}, "s2": {"p9": 1}, "n1": {"p1": 1, "p2": 0}}
    assert note["sets"] == {"squad": 2, "nq": 1} and [*note["sets"]] == ["squad", "nq"]
    counts = {"queries": 3, "queries_read": 5, "queries_without_positive": 2, "judgements": 4}
    assert note["counts"] == counts and len(note["inputs"]) == 4


def test_error_names_an_id_that_two_splits_have_and_no_table_is_left(tmp_path):
    save_split(tmp_path, "nq", {"1": "wer"}, {"1": {"p1": 1}})
    save_split(tmp_path, "squad", {"1": "wie"}, {"1": {"p2": 1}})
    with pytest.raises(InputError, match=r"query '1' is in the splits nq and squad, .* such as squad-1"):
        joined(tmp_path, "nq", "squad")
    assert not (tmp_path / "train.parquet").exists()


def test_a_split_without_a_positive_is_an_error(tmp_path):
    save_split(tmp_path, "nq", {"1": "wer"}, {"1": {"p1": 1}})
    save_split(tmp_path, "squad", {"2": "wie"}, {"2": {"p2": 0}})
    with pytest.raises(InputError, match="no query of the split squad has a positive; leave it out of the union"):
        joined(tmp_path, "nq", "squad")


def test_the_command_writes_the_note(tmp_path, monkeypatch):
    save_split(tmp_path, "a", {"1": "wer"}, {"1": {"p1": 1}})
    save_split(tmp_path, "b", {"2": "wie"}, {"2": {"p2": 1}})
    files = [str(tmp_path / f"{name}.{end}") for end in ("parquet", "qrels") for name in "ab"]
    outputs = ["--out-queries", "q.parquet", "--out-qrels", "q.qrels", "--provenance", "note.json"]
    monkeypatch.chdir(tmp_path)
    command = ["union", "--names", "a", "b", "--queries", *files[:2], "--qrels", *files[2:], *outputs]
    monkeypatch.setattr(sys, "argv", command)
    union.main()
    assert json.loads((tmp_path / "note.json").read_text())["sets"] == {"a": 1, "b": 1}
