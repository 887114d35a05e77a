"""Several files where one name is, and splits whose queries a file of ids chooses."""

import json

import pyarrow.parquet as pq
import pytest

from led_pipeline.data.collection import prepare_passages, prepare_split
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.selection import Selection
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json


@pytest.fixture
def folder(tmp_path):
    """Write two collections, queries in two files and judgements in two formats."""
    for name, content in {
        "real.tsv": "p1\tone\np2\ttwo\n",
        "made.jsonl": json.dumps({"_id": "s1", "title": "S", "text": "synthetic"}) + "\n",
        "a.tsv": "q1\tfirst\nq2\tsecond\n",
        "b.csv": "id,text\nq3,third\nq4,fourth\n",
        "a.qrels": "q1 0 p1 1\nq2 0 p2 1\n",
        "b.json": '{"q3": {"s1": 2}, "q4": {"p1": 1}, "q1": {"p1": 1, "p2": 0}}',
    }.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def passages(folder, *names, form="msmarco", skip=(), **more):
    files = [folder / name for name in names]
    record = prepare_passages(files, None, form, skip, folder / "p.parquet", Repair(False), **more)
    rows = pq.read_table(folder / "p.parquet").to_pylist()
    return [(row["id"], row["title"], row["text"]) for row in rows], record


def split(folder, queries, qrels, selection=Selection(), skip=(), form="msmarco", **more):  # noqa: B008 (frozen)
    files = [folder / name for name in queries], [folder / name for name in qrels], folder / "p.parquet"
    outputs = folder / "q.parquet", folder / "out.qrels"
    record = prepare_split(files, form, skip, selection, outputs, Repair(False), **more)
    return [row["id"] for row in pq.read_table(outputs[0]).to_pylist()], outputs[1].read_text().splitlines(), record


def test_collections_are_joined_in_order_whatever_their_formats(folder):
    rows, record = passages(folder, "made.jsonl", "real.tsv")
    assert rows == [("s1", "S", "synthetic"), ("p1", "", "one"), ("p2", "", "two")]
    assert [entry["path"] for entry in record["inputs"]] == [str(folder / name) for name in ("made.jsonl", "real.tsv")]
    assert record["counts"]["passages"] == 3


def test_a_joined_file_is_what_its_parts_are(folder):
    whole = "".join(f"p{i}\ttext {i}\n" for i in range(50))
    (folder / "whole.tsv").write_text(whole)
    (folder / "x.tsv").write_text(whole[: whole.index("p20\t")])
    (folder / "y.tsv").write_text(whole[whole.index("p20\t") :])
    assert passages(folder, "x.tsv", "y.tsv")[0] == passages(folder, "whole.tsv")[0]


def test_an_id_of_an_earlier_file_is_a_duplicate_and_the_first_text_counts(folder):
    (folder / "more.tsv").write_text("p9\tnine\np2\tzwei\np9\tneun\n")
    with pytest.raises(InputError, match=r"more\.tsv:2: id 'p2' is in .*real\.tsv too.*1 more duplicate_id"):
        passages(folder, "real.tsv", "more.tsv")
    rows, record = passages(folder, "real.tsv", "more.tsv", skip=["duplicate_id"])
    assert rows == [("p1", "", "one"), ("p2", "", "two"), ("p9", "", "nine")]
    assert record["skipped"] == {str(folder / "more.tsv"): {"duplicate_id": 2}}


def test_queries_and_judgements_are_joined(folder):
    passages(folder, "real.tsv", "made.jsonl")
    ids, qrels, record = split(folder, ["a.tsv", "b.csv"], ["a.qrels", "b.json"])
    assert ids == ["q1", "q2", "q3", "q4"]
    assert qrels == ["q1\t0\tp1\t1", "q1\t0\tp2\t0", "q2\t0\tp2\t1", "q3\t0\ts1\t2", "q4\t0\tp1\t1"]
    assert record["noted"] == {str(folder / "b.json"): {"repeated_judgement": 1}}


def test_an_unknown_passage_of_the_second_file_is_named_with_this_file(folder):
    passages(folder, "real.tsv")
    with pytest.raises(InputError, match=r"b\.json: passage 's1' is judged but not in the collection"):
        split(folder, ["a.tsv", "b.csv"], ["a.qrels", "b.json"])


def test_titles_are_for_files_of_two_columns(folder):
    (folder / "t.tsv").write_text("p1\tOne\n")
    files = [folder / "real.tsv", folder / "made.jsonl"], folder / "t.tsv"
    with pytest.raises(InputError, match=r"dataset\.titles: .*made\.jsonl may hold titles itself"):
        prepare_passages(*files, "msmarco", (), folder / "p.parquet", Repair(False))


# --- files of ids


def chosen(folder, ids=None, without=(), **more):
    passages(folder, "real.tsv", "made.jsonl")
    files = folder / ids if ids else None, [folder / name for name in without]
    return split(folder, ["a.tsv", "b.csv"], ["a.qrels", "b.json"], ids_files=files, **more)


def test_a_file_of_ids_chooses_queries_and_their_judgements(folder):
    (folder / "ids").write_text("q4\nq1\tfirst\n")
    ids, qrels, record = chosen(folder, "ids")
    assert ids == ["q1", "q4"], "in the order of the queries"
    assert qrels == ["q1\t0\tp1\t1", "q1\t0\tp2\t0", "q4\t0\tp1\t1"]
    assert record["counts"]["queries_not_chosen"] == 2
    assert record["inputs"][-1]["path"] == str(folder / "ids")


def test_the_ids_that_another_split_holds_out_are_left_out(folder):
    (folder / "ids").write_text("q4\nq1\n")
    assert chosen(folder, without=["ids"])[0] == ["q2", "q3"]
    both = {*chosen(folder, "ids")[0], *chosen(folder, without=["ids"])[0]}
    assert both == {"q1", "q2", "q3", "q4"}


def test_a_sample_is_drawn_among_the_chosen_queries(folder):
    (folder / "ids").write_text("q4\nq1\n")
    assert set(chosen(folder, "ids", selection=Selection(limit=1))[0]) < {"q1", "q4"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\nq9\n", r"ids:2: query 'q9' is not among the queries that it is chosen from, expected its id there"),
        ("q1\nq 1\n", "ids:2: there is 'q 1', expected an id"),
        ("qid\tquery\nq1\tx\n", "ids:1: the line reads 'qid TAB query', names of columns, expected an id"),
    ],
)
def test_error_names_a_bad_id(folder, content, message):
    (folder / "ids").write_text(content)
    with pytest.raises(InputError, match=message):
        chosen(folder, "ids")


def test_a_command_takes_lists_columns_and_ids(folder, monkeypatch):
    from led_pipeline.data import collection

    (folder / "three.tsv").write_text("p3\tT\tthree\n")
    (folder / "ids").write_text("q4\n")
    columns = '["id", "title", "text"]'
    files = [folder / name for name in ("three.tsv", "made.jsonl")]
    arguments = ["passages", "--format", "msmarco", "--collection", *files, "--columns", columns]
    arguments += ["--out", folder / "p.parquet", "--provenance", folder / "p.json"]
    monkeypatch.setattr("sys.argv", ["collection", *map(str, arguments)])
    collection.main()
    assert read_json(folder / "p.json")["counts"]["passages"] == 2
    arguments = ["split", "--format", "msmarco", "--queries", folder / "a.tsv", folder / "b.csv"]
    arguments += ["--qrels", folder / "a.qrels", folder / "b.json", "--ids", folder / "ids", "--skip"]
    arguments += ["qrel_without_passage", "--passages", folder / "p.parquet", "--out-queries", folder / "q.parquet"]
    arguments += ["--out-qrels", folder / "o", "--provenance", folder / "q.json"]
    monkeypatch.setattr("sys.argv", ["collection", *map(str, arguments)])
    with pytest.raises(InputError, match=r"no query of .*a\.tsv, .*b\.csv is left"):  # p1 is not in this collection
        collection.main()
