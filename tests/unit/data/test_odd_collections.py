"""Real collections: a BEIR archive whose queries are passages and whose qrels name missing texts."""

import json
import sys
import zipfile

import numpy as np
import pytest

from led_pipeline.data import collection, pools
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.selection import sample
from led_pipeline.data.tables import Ragged, Ranking, read_column, read_ranking, write_ranking
from led_pipeline.evaluation.evaluate import PassageIds, with_ids
from led_pipeline.evaluation.measures import measure
from led_pipeline.files.errors import InputError

# ArguAna's shape: an argument's counter-argument is relevant, and every query is a passage of the same id.
NAMES = ["test-a-pro01a", "test-a-pro01b", "test-b-con01a", "test-b-con01b"]
QUERIES = [name for name in NAMES if name.endswith("a")]
QRELS = [(QUERIES[0], NAMES[1]), (QUERIES[1], NAMES[3]), (QUERIES[1], "test-lost-con02b"), ("test-c-pro01a", NAMES[1])]


@pytest.fixture
def arguana(tmp_path):
    with zipfile.ZipFile(tmp_path / "arguana.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in ("arguana/", "arguana/qrels/"):
            archive.writestr(folder, "")
        corpus = [{"_id": name, "title": name[:6], "text": f"text of {name}", "metadata": {}} for name in NAMES]
        queries = [{"_id": name, "text": f"text of {name}", "metadata": {}} for name in QUERIES]
        for file, records in (("corpus", corpus), ("queries", queries)):
            lines = "".join(json.dumps(record) + "\n" for record in records)
            archive.writestr(f"arguana/{file}.jsonl", lines)
        rows = "".join(f"{qid}\t{pid}\t1\r\n" for qid, pid in QRELS)
        archive.writestr("arguana/qrels/test.tsv", f"query-id\tcorpus-id\tscore\r\n{rows}")
    return tmp_path


def command(folder, module, *arguments) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module.__name__, *arguments])
        module.main()


def prepare(folder, *skip: str, form="beir", name="test", more=()) -> dict:
    shared = ("--format", form, "--skip", *skip)
    source = "arguana.zip"
    outputs = ("--out", "p.parquet", "--provenance", "p.json")
    command(folder, collection, "passages", "--collection", f"{source}/corpus.jsonl", *outputs, *shared)
    files = ("--queries", f"{source}/queries.jsonl", "--qrels", f"{source}/qrels/test.tsv", "--passages", "p.parquet")
    outputs = ("--out-queries", f"{name}.parquet", "--out-qrels", f"{name}.qrels", "--provenance", f"{name}.json")
    command(folder, collection, "split", *files, *outputs, *more, *shared)
    return json.loads((folder / f"{name}.json").read_text())


def test_judgements_of_missing_texts_are_errors_or_skipped_and_counted(arguana):
    with pytest.raises(InputError, match=r"test\.tsv:4: passage 'test-lost-con02b' is judged.*qrel_without_passage"):
        prepare(arguana)
    record = prepare(arguana, "qrel_without_passage", "qrel_without_query")
    assert load_qrels(arguana / "test.qrels") == {QUERIES[0]: {NAMES[1]: 1}, QUERIES[1]: {NAMES[3]: 1}}
    assert record["skipped"] == {"arguana.zip/qrels/test.tsv": {"qrel_without_passage": 1, "qrel_without_query": 1}}
    assert record["inputs"][0]["path"] == "arguana.zip/queries.jsonl"
    assert record["inputs"][0]["bytes"] == (arguana / "arguana.zip").stat().st_size


def ranked(folder, order: list[list[int]]):
    scores = [np.arange(len(rows), 0, -1) for rows in order]
    lists = Ragged.from_rows(list(map(np.array, order)), np.int32), Ragged.from_rows(scores, np.float32)
    ranking = Ranking(np.arange(len(order), dtype=np.int32), *lists)
    write_ranking(folder / "r.parquet", ranking)
    return ranking


@pytest.mark.parametrize(("exclude", "mrr"), [(False, (1 / 2 + 1 / 3) / 2), (True, (1 + 1 / 2) / 2)])
def test_a_querys_own_passage_is_left_out_of_its_results(arguana, exclude, mrr):
    prepare(arguana, "qrel_without_passage", "qrel_without_query")
    ranking = ranked(arguana, [[0, 1, 2], [0, 2, 3]])  # rows of NAMES; query 0 is passage 0, query 1 is passage 2
    ids = PassageIds.read(arguana / "p.parquet", np.arange(4, dtype=np.int32))
    results = list(with_ids([ranking], QUERIES, ids, 2 + (not exclude), exclude))
    passages = [[1, 2], [0, 3]] if exclude else [[0, 1, 2], [0, 2, 3]]
    assert [pids for _, pids, _ in results] == [[NAMES[row] for row in rows] for rows in passages]
    assert [scores for _, _, scores in results] == ([[2, 1], [3, 1]] if exclude else [[3, 2, 1]] * 2)
    assert measure(results, load_qrels(arguana / "test.qrels")).means()["MRR@10"] == pytest.approx(mrr)


@pytest.mark.parametrize(("option", "expected"), [([], [[0, 2], [0, 2]]), (["--drop-same-id"], [[2], [0]])])
def test_a_querys_own_passage_is_left_out_of_its_negatives(arguana, option, expected):
    prepare(arguana, "qrel_without_passage", "qrel_without_query")
    ranked(arguana, [[0, 1, 2], [0, 2, 3]])
    files = ("--ranking", "r.parquet", "--queries", "test.parquet", "--passages", "p.parquet", "--qrels", "test.qrels")
    command(arguana, pools, "ranking", *files, "--depth", "10", "--out", "pool.parquet", *option)
    assert [rows.tolist() for _, rows, _ in read_ranking(arguana / "pool.parquet")] == expected


# --- a dev split out of the training queries


def test_samples_of_a_split_are_disjoint_and_the_rest_is_kept():
    names = [f"q{i}" for i in range(100)]
    dev, test = sample(names, 10, seed=3), sample(names, 20, seed=3, held_out=10)
    rest, few = sample(names, None, seed=3, held_out=30), sample(names, 5, seed=3, held_out=30)
    assert [len(part) for part in (dev, test, rest, few)] == [10, 20, 70, 5]
    assert dev | test | rest == set(names) and few < rest
    assert sample(names[::-1], 10, seed=3) == dev != sample(names, 10, seed=4)


def test_the_commands_remove_a_sample_from_its_source_split(arguana):
    skip = "qrel_without_passage", "qrel_without_query"
    prepare(arguana, *skip, name="dev", more=("--positive", "--limit", "1", "--seed", "5"))
    record = prepare(arguana, *skip, name="train", more=("--positive", "--held-out", "1", "--seed", "5"))
    dev, train = (read_column(arguana / f"{name}.parquet", "id") for name in ("dev", "train"))
    assert len(dev) == len(train) == 1 and {*dev, *train} == set(QUERIES)
    assert record["selection"] == {"positive": True, "limit": None, "seed": 5, "held_out": 1}


# --- MS MARCO's format with a template


def test_a_template_may_name_the_columns_of_a_tab_separated_file(tmp_path):
    (tmp_path / "c.tsv").write_text("1\tone\n2\ttwo\n")
    (tmp_path / "t.tsv").write_text("1\tA title\n")
    files = ("--collection", "c.tsv", "--titles", "t.tsv", "--out", "p.parquet", "--provenance", "p.json")
    template = ("--template", "{title}: {text}", "--format", "msmarco", "--skip")
    command(tmp_path, collection, "passages", *files, *template)
    assert read_column(tmp_path / "p.parquet", "text") == ["A title: one", ": two"]
    assert read_column(tmp_path / "p.parquet", "title") == ["", ""]
    with pytest.raises(InputError, match=r"c\.tsv: no field 'body'.*the record has id, title, text"):
        command(tmp_path, collection, "passages", *files, "--template", "{body}", *template[2:])
