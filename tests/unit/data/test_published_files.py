"""Small imitations of every published file that a shipped recipe reads, with its known oddities, through preparation.

docs/reference/downloads.md lists the oddities of each file.
"""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from configs import FOLDER, RECIPES, changed

from led_pipeline.data import collection, pools, scores
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.selection import Selection
from led_pipeline.data.tables import read_ranking
from led_pipeline.fetch.download import Places, obtain
from led_pipeline.fetch.sources import Source
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe

# Encoded twice; characters that str.splitlines splits at; control characters; quotes that are the text's own.
PASSAGES = {
    "0": "The presence of communication amid scientific minds",
    "1": "It\u00e2\u0080\u0099s the Manhattan Project",
    "2": "one\u2028two\u0085three\x1cfour",
    "3": '"yes" and "no"',
    "4": "NUL \x00 and \x01 within",
    "16": "restorative justice",
    "49": "amber urine",
}
TITLES = {"0": "Introduction", "3": "-", "1": "", "99": "of a passage that is not there", "49": "Urine Colors"}
QUERIES = {
    "1185869": ")what was the immediate impact?",
    "1185868": "_________ justice",
    "597651": "what color",
    "8": "x",
}
# Two positives of a query, a negative that is judged, a query that is none of ours, and one that comes again.
TRIPLES = [
    ("1185869", "0", "2"), ("1185869", "0", "16"), ("1185869", "1", "2"), ("1185869", "1", "3"), ("77", "0", "1"),
    ("1185868", "16", "0"), ("1185868", "16", "4"), ("1185868", "16", "16"), ("1185869", "0", "49"),
]  # fmt: skip
DL = {"19335": "anthropological definition", "47923": "axon terminals", "1030303": "who is aziz", "87181": "cause"}


def tsv(rows: dict[str, str], end: str = "\n") -> bytes:
    return "".join(f"{name}\t{text}{end}" for name, text in rows.items()).encode()


@cache
def made_up() -> dict[str, bytes]:
    """The files of config/sources.yaml by name; those in archives by their names there."""
    tevatron = [{"docid": name, "title": TITLES.get(name, ""), "text": text} for name, text in PASSAGES.items()]
    margins = {int(qid): {int(pid): np.float32(len(pid)) for pid in PASSAGES} for qid in (*QUERIES, "123")}
    train = "1185869\t0\t0\t1\n1185869\t0\t1\t1\n1185868\t0\t16\t1\n597651\t0\t49\t1\n"
    return {
        "collection.tsv": tsv(PASSAGES),
        "titles.tsv": tsv(TITLES, "\r\n"),
        "titles.tevatron.jsonl.gz": gzip.compress("".join(json.dumps(r) + "\n" for r in tevatron).encode()),
        "queries.train.tsv": tsv(QUERIES),
        "qrels.train.tsv": (train + "1185868\t0\t16\t1\n597651\t0\t49\t1\n").encode(),  # two repeated rows
        "queries.dev.tsv": tsv({"1048585": "what is paula deen's brother", "2": "androgen receptor"}),
        "queries.dev.small.tsv": tsv({"2": "androgen receptor"}),
        "qrels.dev.tsv": b"1048585\t0\t0\t1\n2\t0\t16\t1\n",
        "qrels.dev.small.tsv": b"2\t0\t16\t1\n",
        "msmarco-test2019-queries.tsv.gz": gzip.compress(tsv(DL)),
        "msmarco-test2020-queries.tsv.gz": gzip.compress(tsv(DL)),
        "2019qrels-pass.txt": b"19335 Q0 0 0\n19335 Q0 1 3\n19335 Q0 2 1\n47923 Q0 3 2\n\n",
        "2020qrels-pass.txt": b"1030303 0 16 0 \n1030303 0 49 2\n",
        "qidpidtriples.train.full.2.tsv.gz": gzip.compress("".join("\t".join(t) + "\r\n" for t in TRIPLES).encode()),
        "cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz": gzip.compress(pickle.dumps(margins)),
        "top1000.dev": b"2\t16\tandrogen receptor\trestorative justice\n",
        "msmarco-passagetest2019-top1000.tsv.gz": gzip.compress(
            b"19335\t0\tanthropological definition\tThe presence\n"
        ),
        "msmarco-passagetest2020-top1000.tsv.gz": gzip.compress(b"1030303\t16\twho is aziz\trestorative justice\n"),
        "scifact.zip": scifact(),
    }


def scifact() -> bytes:
    """BEIR's archive: one file of queries for all splits, in a folder with the archive's name."""
    documents = [{"_id": name, "title": TITLES.get(name, ""), "text": text} for name, text in PASSAGES.items()]
    members = {
        "corpus.jsonl": [json.dumps(document) for document in documents],
        "queries.jsonl": [json.dumps({"_id": name, "text": text}) for name, text in QUERIES.items()],
        "qrels/train.tsv": ["query-id\tcorpus-id\tscore", "1185869\t0\t1"],
        "qrels/test.tsv": ["query-id\tcorpus-id\tscore", "1185868\t16\t1", "597651\t49\t1"],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, lines in members.items():
            file.writestr(f"scifact/{name}", "\n".join(lines) + "\n")
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    """Return a tar.gz as macOS writes it: ./ before each name, and a file of attributes before each file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in members.items():
            path = Path(name)
            for each, content in ((path.with_name(f"._{path.name}"), b"\x00\x05\x16\x07"), (path, body)):
                info = tarfile.TarInfo(f"./{each}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """All files of config/sources.yaml in a source folder, unpacked by the downloader from its folder .archives."""
    folder = tmp_path_factory.mktemp("source")
    entries = yaml.safe_load((FOLDER / "sources.yaml").read_text())["files"]
    unchecked = {"md5": None, "sha256": None, "bytes": None, "verified": False}
    sources = [Source(**entry | unchecked) for entry in entries]
    assert {each.name for each in sources} == made_up().keys()
    packed: dict[str, dict[str, bytes]] = {}
    for each in sources:
        packed.setdefault(each.served_as, {})[each.member or ""] = made_up()[each.name]
    places = Places(folder / ".archives", folder / "checksums")
    places.archives.mkdir()
    for name, members in packed.items():
        (places.archives / name).write_bytes(members[""] if "" in members else archive(members))
    for each in sources:
        obtain(each, places, folder / each.name)
        assert (folder / each.name).read_bytes() == made_up()[each.name]
    return folder


def prepare(recipe: Recipe, source: Path, out: Path) -> dict[str, dict]:
    """Prepare a recipe's dataset like the rules do, and return the provenances."""
    dataset, passages = recipe.dataset, out / "passages.parquet"
    shared = (dataset.format, dataset.skip)
    texts = {name: getattr(dataset.templates, name) for name in ("passage", "query")}
    template = {name: Template(text, dataset.templates.missing) if text else None for name, text in texts.items()}
    titles = source / dataset.titles if dataset.titles else None
    files = [source / name for name in dataset.collection_files], titles
    repair = Repair(dataset.repair_encoding)
    record = {"passages": collection.prepare_passages(*files, *shared, passages, repair, template["passage"])}
    for split in dataset.splits:
        names = dataset.queries_of(split), dataset.qrels_of(split)
        files = *([source / name for name in each] for each in names), passages
        outputs = out / f"{split}.queries.parquet", out / f"{split}.qrels"
        selection = Selection(positive=split == "train")
        record[split] = collection.prepare_split(files, *shared, selection, outputs, repair, template["query"])
    return record


def test_scifact_is_prepared_from_beirs_archive_as_it_is(source, tmp_path):
    record = prepare(load_recipe(RECIPES["recipes/opensearch-scifact.yaml"]), source, tmp_path)
    rows = pq.read_table(tmp_path / "passages.parquet").to_pylist()
    assert [(row["id"], row["title"]) for row in rows] == [(pid, TITLES.get(pid, "")) for pid in PASSAGES]
    assert load_qrels(tmp_path / "train.qrels") == {"1185869": {"0": 1}}
    assert load_qrels(tmp_path / "test.qrels") == {"1185868": {"16": 1}, "597651": {"49": 1}}
    assert record["test"]["counts"]["queries"] == 2


DOWNLOADED = [name for name, config in RECIPES.items() if "qrels.train.tsv" in str(config["dataset"]["splits"])]


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_shipped_recipe_is_prepared_from_ms_marcos_files_as_they_are(source, tmp_path, name):
    recipe = load_recipe(RECIPES[name])
    record = prepare(recipe, source, tmp_path)
    rows = pq.read_table(tmp_path / "passages.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(PASSAGES)
    titles = [TITLES.get(pid, "") if recipe.dataset.titles else "" for pid in PASSAGES]
    if recipe.dataset.templates.passage:  # OpenMatch's
        texts = [f"Title: {t} Text: {text}" for t, text in zip(titles, PASSAGES.values(), strict=True)]
        assert [row["text"] for row in rows] == texts
    else:
        assert [(row["title"], row["text"]) for row in rows] == [*zip(titles, PASSAGES.values(), strict=True)]
    if recipe.dataset.titles:
        counts = {"titles_of_a_dash": 1, "titles_without_passage": 1, "passages_without_title": 4}
        assert counts.items() <= record["passages"]["counts"].items()
    assert record["passages"]["noted"] == {}  # quotes of a text's own are no CSV

    assert load_qrels(tmp_path / "train.qrels") == {
        "1185869": {"0": 1, "1": 1},
        "1185868": {"16": 1},
        "597651": {"49": 1},
    }
    assert record["train"]["noted"] == {str(source / "qrels.train.tsv"): {"repeated_judgement": 2}}
    assert {"judgements": 4, "queries": 3, "queries_not_judged": 1}.items() <= record["train"]["counts"].items()
    assert load_qrels(tmp_path / "dev.qrels") == {"2": {"16": 1}}
    assert load_qrels(tmp_path / "dl2019.qrels") == {"19335": {"0": 0, "1": 3, "2": 1}, "47923": {"3": 2}}
    assert load_qrels(tmp_path / "dl2020.qrels") == {"1030303": {"16": 0, "49": 2}}
    assert not any(each["skipped"] for each in record.values())


def test_tevatrons_titles_equal_rocketqas(source, tmp_path):
    recipe = load_recipe(changed(RECIPES["config.yaml"], {"dataset.titles": "titles.tevatron.jsonl.gz"}))
    record = prepare(recipe, source, tmp_path)["passages"]["counts"]
    assert (record["titles_of_a_dash"], record["titles_without_passage"], record["passages_without_title"]) == (1, 0, 4)
    assert pq.read_table(tmp_path / "passages.parquet")["title"].to_pylist()[:4] == ["Introduction", "", "", "-"]


def ranked(path: Path) -> dict[str, list[str]]:
    """Return a ranking or pool of the training queries by ids."""
    queries, passages = (pq.read_table(path.parent / f"{name}.parquet")["id"].to_pylist() for name in ("q", "p"))
    return {queries[query]: [passages[row] for row in rows] for query, rows, _ in read_ranking(path)}


def test_published_negatives_and_scores_become_pools(source, tmp_path, monkeypatch):
    record = prepare(load_recipe(RECIPES["config.yaml"]), source, tmp_path)
    assert record["train"]["counts"]["queries"] == 3
    (tmp_path / "passages.parquet").rename(tmp_path / "p.parquet")
    (tmp_path / "train.queries.parquet").rename(tmp_path / "q.parquet")
    files = ["--queries", "q.parquet", "--passages", "p.parquet"]
    monkeypatch.chdir(tmp_path)
    triples = source / "qidpidtriples.train.full.2.tsv.gz"
    pool = ["published", "--negatives", str(triples), "--qrels", "train.qrels", "--depth", "1000", "--out", "pool"]
    monkeypatch.setattr("sys.argv", ["pools", *pool, *files])
    pools.main()
    # Each passage once, in the file's order and from all of a query's lines; the judged ones are left out.
    assert ranked(tmp_path / "pool") == {"1185869": ["2", "16", "3", "49"], "1185868": ["0", "4"]}
    pickled = source / "cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz"
    monkeypatch.setattr("sys.argv", ["scores", "store", "--file", str(pickled), *files, "--out", "scored"])
    scores.main()
    assert ranked(tmp_path / "scored")["597651"] == ["16", "49", "0", "1", "2", "3", "4"]


# --- BEIR

CORPUS = [
    {"_id": "3", "title": "", "text": ""},  # FiQA has 38 such documents, TREC-COVID one
    {"_id": "MED-10", "title": "Statins", "text": "and breast cancer", "metadata": {"url": "x"}},
    {"_id": "q-1", "title": "only a title", "text": ""},
    {"_id": 31715818, "title": "", "text": "a whole number as id"},
    {"_id": "<dbpedia:Straße>", "title": "Straße", "text": "an id that is not ASCII", "metadata": {}},
]
JUDGED = ["query-id corpus-id score", "1 MED-10 2", "1 3 1", "1 q-1 -1", "1 MED-10 2", "q-1 31715818 1", "2 lost 1"]


@pytest.fixture
def beir(tmp_path) -> Path:
    queries = [
        {"_id": "1", "text": "statins", "metadata": {"query": "statins", "narrative": "..."}},
        {"_id": "q-1", "text": "a query that is a passage", "metadata": {}},
        {"_id": "2", "text": "judged on a missing passage only"},
        {"_id": "900", "text": "of another split"},
    ]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for name, records in (("corpus", CORPUS), ("queries", queries)):
            packed.writestr(f"set/{name}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
            for beside in (f"._{name}.jsonl", f"{name}.jsonl"):
                packed.writestr(f"__MACOSX/set/{beside}", b"\x00\x05\x16\x07")
        packed.writestr("set/qrels/test.tsv", "".join(line.replace(" ", "\t") + "\r\n" for line in JUDGED))
    return tmp_path / "set.zip"


def test_the_beir_recipe_is_prepared_from_beirs_files_as_they_are(beir, tmp_path):
    recipe = load_recipe(RECIPES["recipes/beir.yaml"])
    record = prepare(recipe, beir, tmp_path)
    assert [row["id"] for row in pq.read_table(tmp_path / "passages.parquet").to_pylist()] == [
        "MED-10", "q-1", "31715818", "<dbpedia:Straße>"
    ]  # fmt: skip
    assert load_qrels(tmp_path / "test.qrels") == {"1": {"MED-10": 2, "q-1": -1}, "q-1": {"31715818": 1}}
    assert record["passages"]["skipped"] == {str(beir / "corpus.jsonl"): {"empty_text": 1}}
    assert record["test"]["skipped"] == {str(beir / "qrels/test.tsv"): {"qrel_without_passage": 2}}
    assert record["test"]["noted"] == {str(beir / "qrels/test.tsv"): {"repeated_judgement": 1}}
    assert record["test"]["counts"]["queries_that_lost_all_judgements"] == 1


@pytest.mark.parametrize("kind", ["empty_text", "qrel_without_passage"])
def test_defects_that_the_beir_recipe_skips_are_errors_elsewhere(beir, tmp_path, kind):
    dataset = {
        **RECIPES["recipes/beir.yaml"]["dataset"],
        "skip": [k for k in ("empty_text", "qrel_without_passage") if k != kind],
    }
    with pytest.raises(InputError, match=rf"set dataset\.skip: \[.*{kind}"):
        prepare(load_recipe(RECIPES["recipes/beir.yaml"] | {"dataset": dataset}), beir, tmp_path)


def test_one_of_several_datasets_in_an_archive_is_read(tmp_path):
    """CQADupStack's archive holds twelve datasets, a folder each."""
    with zipfile.ZipFile(tmp_path / "cqadupstack.zip", "w") as packed:
        for name in ("android", "english"):
            packed.writestr(f"cqadupstack/{name}/corpus.jsonl", json.dumps({"_id": "1", "text": name}) + "\n")
            packed.writestr(f"cqadupstack/{name}/queries.jsonl", json.dumps({"_id": "1", "text": name}) + "\n")
            packed.writestr(f"cqadupstack/{name}/qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\t1\t1\n")
    files = {"queries": "english/queries.jsonl", "qrels": "english/qrels/test.tsv"}
    keys = {
        "folder": str(tmp_path / "cqadupstack.zip"),
        "collection": "english/corpus.jsonl",
        "splits": {"test": files},
    }
    recipe = load_recipe(
        changed(RECIPES["recipes/beir.yaml"], {f"dataset.{key}": value for key, value in keys.items()})
    )
    record = prepare(recipe, tmp_path / "cqadupstack.zip", tmp_path)
    assert pq.read_table(tmp_path / "passages.parquet")["text"].to_pylist() == ["english"]
    assert record["test"]["counts"]["judgements"] == 1
