"""A user's files are compared by content: a replaced file re-runs its dependents, a new date re-runs nothing.

Fake jobs run one recipe with a file or folder of every kind; each test replaces one by something older than all
results, plans, and puts the original back.
"""

import os
import shutil
from pathlib import Path

import pytest
from configs import changed
from workflow_copy import ALL_AT_ONCE, Plan, WorkflowCopy

pytestmark = pytest.mark.pipeline

DATA = "da ta/{x}/模 型's"  # special to a shell and to Snakemake
MODELS = ("start", "tower", "words", "other_words", "ranker")
CONFIG = {
    "dataset": {
        "name": "own",
        "source": "folder",
        "folder": DATA,
        "collection": "collection.tsv",
        "titles": "titles.tsv",
        "splits": {
            "train": {"queries": "queries.train.tsv", "qrels": "qrels.train.tsv"},
            "dev": {"queries": "queries.dev.tsv", "qrels": "qrels.dev.tsv"},
        },
        "negatives": {"hard": "hard.tsv"},
        "scores": {"cross": "cross.jsonl"},
    },
    "tokenizer": "models/words",
    "stages": {
        "den": {
            "family": "dense",
            "init": "./models/start",
            "untied": True,
            "query_init": "models/tower",
            "negatives": ["hard"],
            "pooling": "own/pool ing.py:pool",
            "extra_loss": "own/loss.py:f",
            "teachers": [{"stage": "cross", "loss": "own/teacher.py:f"}],
        },
        "taken": {"family": "ranker", "init": "models/ranker", "tokenizer": "models/other_words", "train": False},
        "lex": {
            "family": "lexicon",
            "init": "models/start",
            "train": False,
            "query_encoder": "idf",
            "idf": "own/idf.json",
            "flops_queries": 0,
        },
    },
    "evaluation": {"splits": ["dev"], "depth": 200},
}
ROOT = "results/own"


def put(path: Path, text: str) -> None:
    """Write a file that is older than everything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, (10**9, 10**9))
    new.replace(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workflow = WorkflowCopy(tmp_path_factory.mktemp("stale"))
    names = [
        "collection",
        "titles",
        "hard",
        *(f"{kind}.{split}" for kind in ("queries", "qrels") for split in ("train", "dev")),
    ]
    for name in [*(f"{name}.tsv" for name in names), "cross.jsonl"]:
        put(workflow.folder / DATA / name, f"{name}\n")
    for name in MODELS:
        for file in ("config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"):
            put(workflow.folder / "models" / name / file, name)
    for name in ("pool ing.py:pool", "loss.py:f", "teacher.py:f"):
        file, _, function = name.partition(":")
        put(workflow.folder / "own" / file, f"def {function}(batch): ...\n")
    put(workflow.folder / "own" / "idf.json", "{}")
    workflow.run_fake_jobs(CONFIG)
    assert workflow.plan("led_final", config=CONFIG).jobs == []
    return workflow


PASSAGES = {"prepared/passages.parquet", "prepared/passages.json"}


def split(name):
    return {f"prepared/{name}.{suffix}" for suffix in ("queries.parquet", "qrels", "json")}


def tokens(workflow, name):
    """Return the token files of a tokenizer; their folder begins with its name."""
    (folder,) = (workflow.folder / ROOT / "tokens").glob(f"{name}+*")
    return {f"tokens/{folder.name}/{path.name}" for path in folder.iterdir()}


# Files that are replaced together, and the outputs that re-run for that reason; their dependents follow.
REPLACED = {
    "the collection": ([f"{DATA}/collection.tsv"], PASSAGES),
    "titles": ([f"{DATA}/titles.tsv"], PASSAGES),
    "texts and judgements of queries": (
        [f"{DATA}/queries.train.tsv", f"{DATA}/qrels.dev.tsv"],
        split("train") | split("dev"),
    ),
    "negatives, scores, a model that is taken over": (
        [f"{DATA}/hard.tsv", f"{DATA}/cross.jsonl", "models/ranker/config.json"],
        {"pools/hard.parquet", "pools/hard.json", "rankings/cross.train.parquet", "models/taken"},
    ),
    "what two stages start from": (["models/start/model.safetensors"], {"models/den", "models/lex"}),
    "a query encoder and a table": (
        ["models/tower/1_Pooling/config.json", "own/idf.json"],
        {"models/den", "models/lex"},
    ),
    "own code, and weights beside a tokenizer": (["own/pool ing.py", "models/words/model.safetensors"], {"models/den"}),
}


@pytest.mark.parametrize("case", REPLACED)
def test_a_replaced_file_reruns_its_dependents_even_if_it_is_older(run, case):
    names, triggered = REPLACED[case]
    texts = {run.folder / name: (run.folder / name).read_text() for name in names}
    for path, text in texts.items():
        put(path, f"{text}# other\n")
    try:
        assert run.plan("led_final", config=CONFIG).triggered() == triggered
    finally:
        for path, text in texts.items():
            put(path, text)


def test_a_replaced_tokenizer_rebuilds_only_its_tokens_and_models(run):
    for name, models in (("words", {"models/den", "models/lex"}), ("other_words", {"models/taken"})):
        path = run.folder / "models" / name / "tokenizer.json"
        put(path, "others")
        plan = run.plan("led_final", config=CONFIG)
        assert plan.triggered() - models == tokens(run, f"models_{name}") and models <= plan.outputs
        put(path, name)


def test_new_dates_hidden_files_and_other_spellings_rerun_nothing(run):
    for path in (*(run.folder / DATA).iterdir(), *(run.folder / "models").rglob("*"), *(run.folder / "own").iterdir()):
        path.touch()
    put(run.folder / "models" / "start" / ".cache" / "note", "of a download")
    shutil.copytree(run.folder / "models" / "tower", run.folder / "elsewhere" / "tower")
    (run.folder / "elsewhere" / "loss.py").write_text((run.folder / "own" / "loss.py").read_text())
    other = changed(
        CONFIG,
        {
            "tokenizer": "./models/words/",
            "stages.den.query_init": "elsewhere/tower",
            "stages.den.extra_loss": "elsewhere/loss.py:f",
            "dataset.folder": str(run.folder / DATA),
        },
    )
    assert run.plan("led_final", config=other).outputs <= {"report/recipe.json", *REPORT}


REPORT = {f"report/{name}" for name in ("index.html", "table.txt", "metrics.json")}


def test_exchanging_init_and_tokenizer_imports_again(run):
    exchanged = {"stages.taken.init": "models/other_words", "stages.taken.tokenizer": "models/ranker"}
    assert "models/taken" in run.plan("led_final", config=changed(CONFIG, exchanged)).outputs


def test_user_code_may_be_moved_after_the_training(run):
    moved = run.folder / "own"
    moved.rename(run.folder / "moved")
    (run.folder / ROOT / "report" / "table.txt").unlink()
    try:
        answer = run.run_fake_jobs(CONFIG)
        assert set(Plan(answer.stderr).counts) <= {"report", "led_final"}
    finally:
        (run.folder / "moved").rename(moved)


@pytest.mark.parametrize("arguments", [("--dry-run",), ALL_AT_ONCE])
def test_error_names_a_missing_file_without_a_traceback(tmp_path, arguments):
    workflow = WorkflowCopy(tmp_path)
    dataset = {"name": "own", "source": "folder", "folder": "no {where}", "splits": {"dev": {}}}
    config = workflow.write_config({"dataset": dataset, "stages": {}})
    answer = workflow.snakemake(f"{ROOT}/prepared/passages.parquet", *arguments, "--configfile", config, fake=True)
    assert answer.returncode == 1
    assert "error: no {where}/collection.tsv: no such file" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert not any(tmp_path.glob(".snakemake/locks/*"))
