import gzip
import hashlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from led_pipeline.data import collection, tables
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.formats.lines import DEFECTS
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

COLLECTION = "p1\tone\np2\ttwo\np3\tthree\n"
QUERIES = "q1\tfirst\nq2\tsecond\nq3\tthird\nq4\tfourth\n"
QRELS = "q4\t0\tp1\t1\nq2\t0\tp3\t0\nq2\t0\tp1\t2\nq3\t0\tp2\t0\n"


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["collection", *map(str, arguments)])
    collection.main()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "collection.tsv").write_text(COLLECTION)
    (folder / "queries.tsv").write_text(QUERIES)
    (folder / "qrels.tsv").write_text(QRELS)
    return folder


@pytest.fixture
def passages(source, monkeypatch):
    """Call the command `passages` and return the rows of its table and its provenance."""

    def call(*more: object, form: str = "msmarco", name: str = "collection.tsv") -> tuple[list[dict], dict]:
        out, record = source.parent / "prepared/passages.parquet", source.parent / "prepared/passages.json"
        files = ("--collection", source / name, "--out", out, "--provenance", record)
        run(monkeypatch, "passages", "--format", form, *files, *more)
        table = pq.read_table(out, columns=["id", "title", "text"])
        return table.to_pylist(), json.loads(record.read_text())

    return call


@pytest.fixture
def split(source, passages, monkeypatch):
    """Call the command `split` on prepared passages; return its queries, the text of its qrels and its provenance."""

    def call(*more: object, form: str = "msmarco", judged: bool = True) -> tuple[list[tuple], str, dict]:
        prepared = source.parent / "prepared"
        out, qrels, record = prepared / "dev.queries.parquet", prepared / "dev.qrels", prepared / "dev.json"
        files: list[object] = ["--queries", source / "queries.tsv", "--passages", prepared / "passages.parquet"]
        files += ["--out-queries", out, "--out-qrels", qrels, "--provenance", record]
        files += ["--qrels", source / "qrels.tsv"] if judged else []
        run(monkeypatch, "split", "--format", form, *files, *more)
        queries = [(row["id"], row["text"]) for row in pq.read_table(out).to_pylist()]
        return queries, qrels.read_text(), json.loads(record.read_text())

    passages()
    return call


def published(source: Path) -> set[str]:
    return {path.name for path in source.parent.joinpath("prepared").glob("*")}


def test_passages_keep_the_file_order_and_have_provenance(source, passages):
    rows, record = passages("--skip")
    assert rows == [
        {"id": "p1", "title": "", "text": "one"},
        {"id": "p2", "title": "", "text": "two"},
        {"id": "p3", "title": "", "text": "three"},
    ]
    path = source / "collection.tsv"
    sha256 = hashlib.sha256(COLLECTION.encode()).hexdigest()
    assert record["inputs"] == [{"path": str(path), "bytes": len(COLLECTION), "sha256": sha256}]
    assert record["counts"] == {"passages": 3, "passages_without_title": 3, "titles_without_passage": 0}
    assert record["skipped"] == {}


@pytest.mark.parametrize("order", [[1, 2, 3, 9], [9, 3, 1, 2], [3, 2, 9, 1]])
def test_titles_are_joined_by_id_in_any_order(source, passages, order):
    (source / "titles.tsv").write_text("".join(f"p{i}\tTitle {i}\ttrain\n" for i in order))
    rows, record = passages("--titles", source / "titles.tsv")
    assert [row["title"] for row in rows] == ["Title 1", "Title 2", "Title 3"]
    assert record["counts"] == {"passages": 3, "passages_without_title": 0, "titles_without_passage": 1}
    assert [Path(entry["path"]).name for entry in record["inputs"]] == ["collection.tsv", "titles.tsv"]


def test_passages_with_the_same_text_share_a_number(source, passages):
    (source / "collection.tsv").write_text("p1\tone  two\np2\tone two \np3\tOne two\np4\tone two\n")
    (source / "titles.tsv").write_text("p4\tone\n")
    passages("--titles", source / "titles.tsv")
    numbers = pq.read_table(source.parent / "prepared/passages.parquet")["content"].to_pylist()
    assert numbers[0] == numbers[1] and len(set(numbers)) == 3


def test_a_passage_without_a_title_gets_an_empty_one_and_is_counted(source, passages, capsys):
    (source / "titles.tsv").write_text("p3\tTitle 3\np1\t\n")
    rows, record = passages("--titles", source / "titles.tsv")
    assert [row["title"] for row in rows] == ["", "", "Title 3"]
    assert record["counts"]["passages_without_title"] == 2
    assert "passages without title: 2\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("titles", "line"),
    [("p1\tA\np2\tB\np1\tC\np3\tD\n", 3), ("p2\tB\np2\tC\np1\tA\np3\tD\n", 2), ("p1\tA\np2\tB\np3\tD\np3\tE\n", 4)],
)
def test_a_second_title_of_a_passage_is_a_defect_and_the_first_counts(source, passages, titles, line):
    (source / "titles.tsv").write_text(titles)
    with pytest.raises(InputError, match=rf"titles\.tsv:{line}: passage 'p\d' has a title on an earlier line"):
        passages("--titles", source / "titles.tsv")
    assert published(source) == set()
    rows, record = passages("--titles", source / "titles.tsv", "--skip", "duplicate_id")
    assert [row["title"] for row in rows] == ["A", "B", "D"]
    assert record["skipped"] == {str(source / "titles.tsv"): {"duplicate_id": 1}}


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"p1\ta\np2\tb\np1\tc\n", "duplicate_id", r"c\.tsv:3: id 'p1' is on an earlier line too"),
        (b"p1\ta\np2\tb\np3\t \n", "empty_text", r"c\.tsv:3: the text of 'p3' is empty"),
        (b"p1\ta\np2\tb\np3\t\xff\n", "bad_utf8", r"c\.tsv:3: byte 4 of the line, 0xff, is not UTF-8"),
    ],
)
def test_a_defect_publishes_nothing_unless_it_is_skipped_and_counted(source, passages, capsys, content, kind, message):
    (source / "c.tsv").write_bytes(content)
    with pytest.raises(InputError, match=message + rf".*dataset\.skip: \[{kind}\]"):
        passages(name="c.tsv")
    assert published(source) == set()
    rows, record = passages("--skip", kind, name="c.tsv")
    assert [row["id"] for row in rows] == ["p1", "p2"]
    assert record["skipped"] == {str(source / "c.tsv"): {kind: 1}}
    assert f"c.tsv: skipped 1 line(s) with {kind}\n" in capsys.readouterr().out


def test_skipping_one_kind_skips_no_other(source, passages):
    (source / "c.tsv").write_bytes(b"p1\ta\np1\tb\np2\t\nx\n")
    message = r"c\.tsv:3: .*dataset\.skip: \[duplicate_id, empty_text\].*\(besides this line: 1 malformed\)"
    with pytest.raises(InputError, match=message):
        passages("--skip", "duplicate_id", name="c.tsv")


def test_a_malformed_line_cannot_be_skipped_and_an_earlier_table_stays(source, passages):
    passages()
    (source / "c.tsv").write_text("p1\ta\nno tab\np3\tx\ty\n")
    with pytest.raises(
        InputError, match=r"c\.tsv:2: 1 column.*correct the file \(besides this line: 1 more malformed\)"
    ):
        passages("--skip", *DEFECTS, name="c.tsv")
    assert published(source) == {"passages.parquet", "passages.json"}
    assert pq.read_table(source.parent / "prepared/passages.parquet").num_rows == 3


@pytest.mark.parametrize("content", [b"", b"\n", b"p1\t\n"])
def test_a_collection_without_passages_is_an_error(source, passages, content):
    (source / "c.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.tsv: no passage in it"):
        passages("--skip", "empty_text", name="c.tsv")
    assert published(source) == set()


def test_a_gzip_collection_that_is_cut_off_publishes_nothing(source, passages):
    whole = gzip.compress(b"".join(b"%d\ttext %d\n" % (i, i * i) for i in range(9_000)))
    (source / "c.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"c\.tsv\.gz:\d+: the gzip stream is damaged or cut off"):
        passages("--skip", *DEFECTS, name="c.tsv.gz")
    assert published(source) == set()


def test_a_beir_corpus_brings_its_titles(source, passages):
    (source / "corpus.jsonl").write_text('{"_id": "a", "title": "A", "text": "x\\ny"}\n{"_id": "b", "text": "z"}\n')
    rows, record = passages(form="beir", name="corpus.jsonl")
    assert rows == [{"id": "a", "title": "A", "text": "x\ny"}, {"id": "b", "title": "", "text": "z"}]
    assert record["counts"]["passages_without_title"] == 1
    with pytest.raises(InputError, match=r"dataset\.titles"):
        passages("--titles", source / "titles.tsv", form="beir", name="corpus.jsonl")


def test_a_split_keeps_judged_queries_in_file_order_and_counts_the_others(split, capsys):
    queries, qrels, record = split("--skip")
    assert queries == [("q2", "second"), ("q3", "third"), ("q4", "fourth")]
    assert qrels == "q2\t0\tp3\t0\nq2\t0\tp1\t2\nq3\t0\tp2\t0\nq4\t0\tp1\t1\n"
    counts = {"judgements": 4, "judgements_read": 4, "queries": 3, "queries_read": 4, "queries_not_judged": 1}
    assert {name: count for name, count in record["counts"].items() if count} == counts
    assert [Path(entry["path"]).name for entry in record["inputs"]] == ["queries.tsv", "qrels.tsv"]
    printed = capsys.readouterr().out.splitlines()
    assert {"queries: 3", "queries read: 4", "queries not judged: 1"} <= set(printed)


def test_a_split_of_positives_drops_queries_with_grade_zero_only(split):
    queries, qrels, record = split("--positive")
    assert [qid for qid, _ in queries] == ["q2", "q4"]
    assert "q2\t0\tp3\t0\n" in qrels
    assert record["counts"]["queries_without_positive"] == 1


def test_a_split_without_qrels_keeps_all_queries(split):
    queries, qrels, record = split(judged=False)
    assert [qid for qid, _ in queries] == ["q1", "q2", "q3", "q4"]
    assert qrels == ""
    assert record["counts"]["judgements"] == record["counts"]["queries_not_judged"] == 0


def test_a_beir_split_reads_json_queries_and_qrels_with_a_header(source, split):
    (source / "queries.tsv").write_text('{"_id": "q1", "text": "first"}\n{"_id": "q2", "text": "second"}\n')
    (source / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq2\tp1\t0\nq2\tp2\t1\n")
    queries, qrels, _ = split(form="beir")
    assert queries == [("q2", "second")]
    assert qrels == "q2\t0\tp1\t0\nq2\t0\tp2\t1\n"


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("q9\t0\tp1\t1\n", "qrel_without_query", "query 'q9' is judged but not among the queries"),
        ("q1\t0\tp9\t1\n", "qrel_without_passage", "passage 'p9' is judged but not in the collection"),
        ("q4\t0\tp1\t0\n", "duplicate_id", "query 'q4' and passage 'p1' have grade 0 here and 1 in line 1"),
    ],
)
def test_a_dangling_or_repeated_judgement_is_a_defect_that_may_be_skipped(source, split, line, kind, message):
    before = published(source)
    (source / "qrels.tsv").write_text(QRELS + line)
    with pytest.raises(InputError, match=rf"qrels\.tsv:5: {message}.*dataset\.skip: \[{kind}\]"):
        split()
    assert published(source) == before
    queries, qrels, record = split("--skip", kind)
    assert [qid for qid, _ in queries] == ["q2", "q3", "q4"]
    assert len(qrels.splitlines()) == 4
    assert record["skipped"] == {str(source / "qrels.tsv"): {kind: 1}}


def test_a_query_that_loses_its_only_judgement_is_dropped_and_counted(source, split):
    (source / "qrels.tsv").write_text("q1\t0\tp9\t1\nq2\t0\tp9\t1\nq2\t0\tp1\t1\nq9\t0\tp1\t1\n")
    queries, _, record = split("--skip", "qrel_without_passage", "qrel_without_query")
    assert [qid for qid, _ in queries] == ["q2"]
    assert record["counts"]["queries_that_lost_all_judgements"] == 1
    assert record["counts"]["queries_not_judged"] == 3


def test_the_queries_of_a_split_have_defects_too(source, split):
    before = published(source)
    (source / "queries.tsv").write_text(QUERIES + "q1\tagain\nq5\t\nq6\n")
    with pytest.raises(InputError, match=r"queries\.tsv:5: id 'q1' is.*: 1 empty_text, 1 malformed\)"):
        split()
    assert published(source) == before


def test_an_empty_split_is_an_error(source, split):
    before = published(source)
    (source / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match=r"qrels\.tsv: no query of .*queries\.tsv is left"):
        split()
    assert published(source) == before


def test_a_limit_draws_a_sample_that_seed_and_ids_alone_decide(source, split):
    names = [f"q{i}" for i in range(40)]
    (source / "queries.tsv").write_text("".join(f"{name}\ttext {name}\n" for name in names))
    (source / "qrels.tsv").write_text("".join(f"{name}\t0\tp1\t1\n" for name in names[:30]))
    first, qrels, record = split("--limit", 10, "--seed", 1)
    ids = [qid for qid, _ in first]
    assert len(ids) == 10 and ids == [name for name in names[:30] if name in ids]
    assert list(load_qrels(source.parent / "prepared/dev.qrels")) == ids
    assert record["counts"]["queries_not_sampled"] == 20
    assert record["selection"] == {"positive": False, "limit": 10, "seed": 1, "held_out": 0}
    assert ids != [qid for qid, _ in split("--limit", 10, "--seed", 2)[0]]

    (source / "queries.tsv").write_text("".join(f"{name}\ttext {name}\n" for name in reversed(names)))
    again, _, _ = split("--limit", 10, "--seed", 1)
    assert [qid for qid, _ in again] == ids[::-1]
    assert qrels.splitlines() == [f"{name}\t0\tp1\t1" for name in ids]


def test_a_limit_above_the_number_of_queries_keeps_them_all(split):
    queries, _, record = split("--limit", 100)
    assert len(queries) == 3
    assert record["counts"]["queries_not_sampled"] == 0
    with pytest.raises(ValueError, match="limit"):
        split("--limit", 0)


def test_passages_of_many_batches_keep_their_order_and_are_found_in_every_row_group(source, passages, monkeypatch):
    monkeypatch.setattr(collection, "ROW_GROUP", 7)
    (source / "c.tsv.gz").write_bytes(gzip.compress(b"".join(b"%d\tt%d\n" % (i, i) for i in range(50))))
    rows, record = passages(name="c.tsv.gz")
    assert [row["id"] for row in rows] == [str(i) for i in range(50)]
    assert record["counts"]["passages"] == 50
    table = source.parent / "prepared/passages.parquet"
    monkeypatch.setattr(tables, "ID_GROUPS", 3)
    assert tables.rows_of(table, {"0", "30", "49", "50"}) == {"0": 0, "30": 30, "49": 49}
    assert tables.rows_of(table, set()) == {}


def test_a_bad_line_is_one_error_on_stderr_and_exit_status_2(source, monkeypatch, capsys):
    (source / "c.tsv").write_text("p1\n")
    path, words = source / "c.tsv", "passages --format msmarco --out x --provenance y --collection"
    monkeypatch.chdir(source)
    monkeypatch.setattr(sys, "argv", ["collection", *words.split(), str(path)])
    with pytest.raises(SystemExit, match="2"):
        run_main(collection.main)
    assert capsys.readouterr().err == f"error: {path}:1: 1 column(s), expected 2: id TAB text; correct the file\n"


TWICE = "It\u00e2\u0080\u0099s the caf\u00c3\u00a9"  # "It's the café" with a curly apostrophe, read as Latin-1


def test_text_that_was_encoded_twice_is_repaired_and_counted_on_request(source, passages):
    (source / "collection.tsv").write_text(f"p1\t{TWICE} in Zürich\np2\tplain\np3\tZürich &amp; “quotes” ﬁne\n")
    (source / "titles.tsv").write_text(f"p1\t{TWICE}\n")
    rows, record = passages("--titles", source / "titles.tsv", "--repair-encoding")
    # Only what was encoded twice: entities, quotes and ligatures stay.
    assert [row["text"] for row in rows] == ["It’s the café in Zürich", "plain", "Zürich &amp; “quotes” ﬁne"]
    assert rows[0]["title"] == "It’s the café"
    assert record["counts"]["passages_repaired"] == 1 and record["counts"]["titles_repaired"] == 1
    assert record["repair_encoding"].startswith("ftfy ")


def test_text_that_was_encoded_twice_stays_by_default(source, passages):
    (source / "collection.tsv").write_text(f"p1\t{TWICE}\n")
    rows, record = passages()
    assert rows[0]["text"] == TWICE
    assert "passages_repaired" not in record["counts"] and record["repair_encoding"] is None


def test_queries_are_repaired_and_counted_on_request(source, split):
    (source / "queries.tsv").write_text(f"q2\t{TWICE}\nq3\tplain\nq4\tZürich\n")
    queries, _, record = split("--repair-encoding")
    assert dict(queries) == {"q2": "It’s the café", "q3": "plain", "q4": "Zürich"}
    assert record["counts"]["queries_repaired"] == 1
    queries, _, record = split()
    assert dict(queries)["q2"] == TWICE and "queries_repaired" not in record["counts"]


def test_the_provenance_has_name_and_hash_of_the_title_file(source, passages):
    (source / "variant.tsv").write_text("p1\tA title\n")
    _, record = passages("--titles", source / "variant.tsv")
    sha256 = hashlib.sha256(b"p1\tA title\n").hexdigest()
    assert record["titles"] == {"path": str(source / "variant.tsv"), "bytes": 11, "sha256": sha256}
    assert passages()[1]["titles"] is None


@pytest.mark.parametrize("key", ["_id", "docid"])
def test_titles_may_be_json_lines_with_or_without_texts(source, passages, key):
    lines = [{key: "p1", "title": "One", "text": "one"}, {key: "p3", "title": "Three"}]
    (source / "titles.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in lines).encode()))
    rows, _ = passages("--titles", source / "titles.jsonl.gz")
    assert [row["title"] for row in rows] == ["One", "", "Three"]
