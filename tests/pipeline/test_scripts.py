"""Texts of seven scripts from files to the report, on a machine whose locale knows ASCII only."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
import yaml
from scripts import SCRIPTS
from workflow_copy import ROOT

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

PASSAGES, TRAIN, DEV = 60, 20, 10  # of each language
NAME = "भाषा-语言"  # folder of the whole run
CHANCE = sum(1 / rank for rank in range(1, 11)) / (PASSAGES * len(SCRIPTS))
RECIPE = {
    "dataset": {
        "name": "scripts", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}, "max_tokens": 48,
    },
    "tokenizer": "pretrain",
    "bm25": {"language": "bigrams"},
    "mining": {"depth": 10, "hits": 15},
    "evaluation": {"depth": 50, "side_by_side": ["bm25", "dense"], "examples": 14},
    "resources": {"train": {"threads": 1, "mem_mb": 2000, "runtime_min": 5}},
    "stages": {
        "pretrain": {
            "family": "pretrain", "vocabulary": 2000, "hidden": 64, "layers": 1, "intermediate": 64, "positions": 64,
        },
        "dense": {
            "family": "dense", "init": "pretrain", "pooling": "mean", "normalize": True, "temperature": 0.05,
            "negatives": ["bm25"], "negatives_per_query": 2, "batch_size": 10, "epochs": 1, "learning_rate": 1e-4,
            "precision": "float32", "query_length": 24, "passage_length": 32,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts") / NAME
    (folder / "data").mkdir(parents=True)
    lines = {name: [] for name in ("collection", "queries.train", "qrels.train", "queries.dev", "qrels.dev")}
    for language, script in SCRIPTS.items():
        texts, queries = script.collection(PASSAGES, TRAIN + DEV)
        lines["collection"] += [f"{language}-{i}\t{text}" for i, text in enumerate(texts)]
        for i, query in enumerate(queries):
            split = "train" if i < TRAIN else "dev"
            lines[f"queries.{split}"].append(f"{language}-{i}\t{query}")
            lines[f"qrels.{split}"].append(f"{language}-{i}\t0\t{language}-{i}\t1")
    for name, content in lines.items():
        (folder / "data" / f"{name}.tsv").write_text("\n".join(content) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, allow_unicode=True), encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "XDG_CACHE_HOME": str(folder)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "snakemake", "led_final", "--cores", "2", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", ".", "--configfile", "recipe.yaml"]
    environment = os.environ | ascii_only | {"PATH": path}
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert answer.returncode == 0, answer.stderr[-4000:]
    return folder / "results" / "scripts"


def measured(results, system: str) -> dict[str, float]:
    """Return the mean of MRR@10 over the queries of each language."""
    with (results / "eval" / f"{system}.dev.per_query.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == DEV * len(SCRIPTS)
    return {
        language: mean(float(row["MRR@10"]) for row in rows if row["qid"].startswith(f"{language}-"))
        for language in SCRIPTS
    }


def test_every_language_is_ranked_far_better_than_by_chance(results):
    """Pairs of letters know no articles and plurals: Arabic and Russian need their own analysers."""
    bm25, dense = measured(results, "bm25"), measured(results, "dense")
    assert {language: value for language, value in bm25.items() if value < 0.9}.keys() == {"ar", "ru"}, bm25
    assert {language: value for language, value in dense.items() if value < 50 * CHANCE}.keys() <= {"ar"}, dense


def test_run_report_and_logs_are_in_utf_8(results):
    page = (results / "report" / "index.html").read_text(encoding="utf-8")
    languages = [s for s in SCRIPTS.values() if any(query in page for query in s.collection(PASSAGES, TRAIN + DEV)[1])]
    assert len(languages) >= 2 and "\ufffd" not in page
    assert len((results / "runs" / "bm25.dev.trec").read_text(encoding="utf-8").splitlines()) > 1_000
    vocabulary = json.loads((results / "models" / "pretrain" / "tokenizer.json").read_text(encoding="utf-8"))
    assert {"水", "เมื", "पानी", "школа"} <= vocabulary["model"]["vocab"].keys()
    for log in (results.parents[1] / "logs").rglob("*.log"):
        assert "\\u" not in log.read_text(encoding="utf-8"), log
