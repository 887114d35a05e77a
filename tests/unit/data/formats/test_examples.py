"""Training examples that hold texts: what becomes of them, and faults in them."""

import hashlib
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from led_pipeline.data import pools, scores
from led_pipeline.data.collection import prepare_passages, prepare_split
from led_pipeline.data.formats.examples import generated_id, read_example_scores
from led_pipeline.data.formats.judgements import read_negatives, read_qrels
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.selection import Selection
from led_pipeline.data.tables import read_column, read_ranking
from led_pipeline.files.errors import InputError

TRIPLES = [
    {"query": "what is a", "pos": "a is", "negs": ["b is", "c is"]},
    {"query": "what is b", "pos": ["b is", "a b"], "negs": ["a is"]},
    {"query": "what is a", "pos": "a is", "negs": ["d is"]},
]
SCORED = [
    {"query": "what is a", "docs": ["a is", "b is"], "scores": [3, 1.5]},
    {"query": "what is c", "docs": ["b is", "c is", "e is"], "scores": [0.5, 7.25, 7]},
]


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def ident(text):
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.fixture
def prepare(tmp_path):
    """Prepare a dataset of examples; return passages, queries and judgements by their texts."""

    def call(*names, skip=(), form="examples"):
        files = [tmp_path / name for name in names]
        prepare_passages(files, None, form, skip, tmp_path / "p.parquet", Repair(False))
        outputs = tmp_path / "q.parquet", tmp_path / "train.qrels"
        prepare_split((files, files, tmp_path / "p.parquet"), form, skip, Selection(True), outputs, Repair(False))
        rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
        queries = {row["id"]: row["text"] for row in pq.read_table(outputs[0]).to_pylist()}
        text = {row["id"]: " | ".join(filter(None, (row["title"], row["text"]))) for row in rows}
        columns = [line.split("\t") for line in outputs[1].read_text().splitlines()]
        return list(text.values()), list(queries.values()), [(queries[q], text[p], int(g)) for q, _, p, g in columns]

    return call


def test_every_text_is_one_passage_and_every_positive_a_judgement(tmp_path, prepare):
    (tmp_path / "train.jsonl").write_text(lines(*TRIPLES))
    passages, queries, judged = prepare("train.jsonl")
    assert passages == ["a is", "b is", "c is", "a b", "d is"]
    assert queries == ["what is a", "what is b"]
    assert judged == [("what is a", "a is", 1), ("what is b", "b is", 1), ("what is b", "a b", 1)]


def test_ids_are_hashes_of_texts_so_that_files_may_come_in_any_order(tmp_path, prepare):
    (tmp_path / "a.jsonl").write_text(lines(*TRIPLES))
    (tmp_path / "b.jsonl").write_text(lines(*SCORED))
    prepare("a.jsonl", "b.jsonl")
    first = set(read_column(tmp_path / "p.parquet", "id"))
    assert first == {ident(text) for text in ("a is", "b is", "c is", "d is", "e is", "a b")}
    prepare("b.jsonl", "a.jsonl")
    assert set(read_column(tmp_path / "p.parquet", "id")) == first
    assert generated_id("T", "x") == ident("T\0x") != generated_id("", "Tx")


def test_a_query_with_scores_alone_has_its_best_passage_as_the_positive(tmp_path, prepare):
    (tmp_path / "a.jsonl").write_text(lines(*SCORED, TRIPLES[2]))
    assert prepare("a.jsonl")[2] == [("what is a", "a is", 1), ("what is c", "c is", 1)]
    (tmp_path / "b.jsonl").write_text(lines(SCORED[0] | {"scores": [1, 2]}, TRIPLES[2]))
    assert prepare("b.jsonl")[2] == [("what is a", "a is", 1)], "a positive counts, not the best score"


@pytest.mark.parametrize("name", ["train.parquet", "train.csv", "train.jsonl"])
def test_columns_of_sentence_transformers_are_examples(tmp_path, prepare, name):
    table = pa.table({"anchor": ["q a"], "positive": ["a"], "negative_2": ["c"], "negative_10": ["d"]})
    if name == "train.parquet":
        pq.write_table(table, tmp_path / name)
    elif name == "train.csv":
        table.to_pandas().to_csv(tmp_path / name, index=False)
    else:
        (tmp_path / name).write_text(lines(*table.to_pylist()))
    assert prepare(name) == (["a", "c", "d"], ["q a"], [("q a", "a", 1)])
    assert list(read_negatives(tmp_path / name, examples=True)) == [(ident("q a"), [ident("c"), ident("d")])]


def test_passages_of_tevatron_have_titles_and_ids(tmp_path, prepare):
    passage = {"docid": "7", "title": "A", "text": "a is"}
    record = {"query_id": "3", "query": "what is a", "positive_passages": [passage], "negative_passages": []}
    (tmp_path / "t.jsonl").write_text(lines(record, record | {"query_id": "4", "query": "what's a"}))
    assert prepare("t.jsonl")[0] == ["A | a is"]
    assert (tmp_path / "train.qrels").read_text() == "3\t0\t7\t1\n4\t0\t7\t1\n"
    other = record | {"query_id": "5", "query": "x", "positive_passages": [passage | {"text": "something else"}]}
    (tmp_path / "t.jsonl").write_text(lines(record, other))
    with pytest.raises(InputError, match=r"t\.jsonl:2: id '7' is on an earlier line too, expected every id once"):
        prepare("t.jsonl")


def test_further_passages_with_ids_may_be_beside_the_examples(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines(TRIPLES[0]))
    (tmp_path / "more.jsonl").write_text(lines({"_id": "m1", "title": "M", "text": "more"}))
    (tmp_path / "more.tsv").write_text("m2\ttab\n")
    (tmp_path / "more.csv").write_text("id,text\nm3,comma\n")
    files = [tmp_path / name for name in ("train.jsonl", "more.jsonl", "more.tsv", "more.csv")]
    prepare_passages(files, None, "examples", (), tmp_path / "p.parquet", Repair(False))
    assert read_column(tmp_path / "p.parquet", "id")[3:] == ["m1", "m2", "m3"]


def test_negatives_and_scores_become_a_pool_and_a_ranking_of_the_prepared_rows(tmp_path, prepare, monkeypatch):
    (tmp_path / "a.jsonl").write_text(lines(*TRIPLES, *SCORED))
    passages, queries, _ = prepare("a.jsonl")
    shared = ["--format", "examples", "--queries", "q.parquet", "--passages", "p.parquet"]
    monkeypatch.chdir(tmp_path)
    run = ["published", "--negatives", "a.jsonl", "--qrels", "train.qrels", "--depth", "9", "--out", "pool.parquet"]
    monkeypatch.setattr(sys, "argv", ["pools", *run, *shared])
    pools.main()
    drawn = {queries[q]: [passages[row] for row in rows] for q, rows, _ in read_ranking("pool.parquet")}
    assert drawn == {"what is a": ["b is", "c is", "d is"], "what is b": ["a is"]}
    monkeypatch.setattr(sys, "argv", ["scores", "store", "--file", "a.jsonl", "--out", "r.parquet", *shared])
    scores.main()
    ranked = {
        queries[q]: [(passages[p], s) for p, s in zip(rows, v, strict=True)] for q, rows, v in read_ranking("r.parquet")
    }
    assert ranked["what is a"] == [("a is", 3), ("b is", 1.5)]
    assert ranked["what is c"] == [("c is", 7.25), ("e is", 7), ("b is", 0.5)]


def test_scores_of_a_query_may_be_in_several_examples(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        lines(SCORED[0], SCORED[1], SCORED[0] | {"docs": ["x", "a is"], "scores": [9, 3]})
    )
    of_a = next(read_example_scores(tmp_path / "a.jsonl"))
    assert of_a == (ident("what is a"), [ident("a is"), ident("b is"), ident("x")], [3.0, 1.5, 9.0])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"pos": "x"}, 'no query, expected {"query", "pos", "negs"} or {"query", "docs", "scores"} with texts'),
        ({"query": "q"}, "neither pos nor docs, expected"),
        ({"query": "q", "negs": ["x"]}, "neither pos nor docs, expected"),
        ({"query": 7, "pos": "x"}, "the query is 7, expected a text, or an object with a text"),
        ({"query": "q", "pos": ["x", 3]}, "a positive is 3, expected a text"),
        ({"query": "q", "pos": "x", "negs": [{"title": "T"}]}, "a negative is {'title': 'T'}, expected a text"),
        ({"query": "q", "pos": {"docid": "a b", "text": "x"}}, "the id of a positive is 'a b', expected an id"),
        ({"query": "q", "docs": ["x"]}, "docs without scores, expected"),
        ({"query": "q", "pos": "x", "scores": [1]}, "scores without docs, expected"),
        ({"query": "q", "docs": ["x"], "scores": [1, 2]}, "1 docs and 2 scores, expected as many"),
        ({"query": "q", "docs": ["x"], "scores": ["high"]}, "score 'high', expected a number"),
        ({"query": "q", "docs": ["x", "x"], "scores": [1, 2]}, r"passage 'x' has the scores 1.0 and 2, expected one"),
        ({"query": "q", "pos": ""}, r"a passage of the example is empty.*dataset\.skip: \[empty_text\]"),
        (
            {"query": " ", "pos": "x"},
            "the text of '.*' is empty, expected some text; correct the file, or set dataset.skip: .empty_text. [^(]*$",
        ),
        ([1], "not an object"),
    ],
)
def test_error_names_the_line_of_a_bad_example(tmp_path, prepare, record, message):
    (tmp_path / "bad.jsonl").write_text(lines(TRIPLES[0], record))
    with pytest.raises(InputError, match=r"bad\.jsonl:2: .*" + message):
        prepare("bad.jsonl")


def test_half_a_surrogate_pair_is_a_fault(tmp_path, prepare):
    (tmp_path / "bad.jsonl").write_text('{"query": "q", "pos": "\\ud800"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1: a positive has half a surrogate pair"):
        prepare("bad.jsonl")


def test_blank_texts_are_left_out_everywhere_if_the_recipe_skips_them(tmp_path, prepare):
    (tmp_path / "a.jsonl").write_text(
        lines({"query": "q", "pos": ["", "x"], "negs": [" ", "y"]}, {"query": "", "pos": "x"})
    )
    assert prepare("a.jsonl", skip=["empty_text"]) == (["x", "y"], ["q"], [("q", "x", 1)])
    assert next(read_negatives(tmp_path / "a.jsonl", examples=True)) == (ident("q"), [ident("y")])


def test_scores_that_contradict_each_other_or_are_not_there_are_faults(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines(SCORED[0], SCORED[0] | {"scores": [3, 2]}))
    with pytest.raises(
        InputError, match=r"a\.jsonl:2: passage 'b is' of query 'what is a' has the score 2.0 here and 1.5"
    ):
        list(read_example_scores(path))
    path.write_text(lines(*TRIPLES))
    with pytest.raises(InputError, match=r'a\.jsonl: no example has scores, expected {"query", "docs", "scores"}'):
        list(read_example_scores(path))


def test_other_formats_keep_their_meaning_in_a_dataset_of_examples(tmp_path):
    (tmp_path / "r.tsv").write_text("q1 0 p1 2\n")
    (tmp_path / "n.tsv").write_text("q1\tp1,p2\n")
    assert list(read_qrels(tmp_path / "r.tsv", Problems(), examples=True)) == [(1, "q1", "p1", 2)]
    assert list(read_negatives(tmp_path / "n.tsv", examples=True)) == [("q1", ["p1", "p2"])]
