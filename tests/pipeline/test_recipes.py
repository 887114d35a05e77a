"""Run the recipes of other systems to their reports: small models, random words, the objectives as written.

Three steps teach a model nothing; the tests check that the keys of each recipe work together.
"""

import gzip
import json
import math
import pickle

import pytest
import yaml
from configs import RECIPES
from random_words import write_data
from workflow_copy import ROOT, WorkflowCopy

from led_pipeline.recipe import needs
from led_pipeline.recipe.load import load_recipe

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

PRETRAIN = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())["stages"]["pretrain"]
SIZES = {"batch_size": 8, "max_steps": 3, "query_length": 40, "passage_length": 32, "precision": "float32"}
ON_CPU = ("resources", "validation", "seed")  # top-level keys that a cut recipe leaves at their defaults

# For each recipe, the terms of the stages' objectives that are characteristic of the system.
TERMS = {
    "splade": {
        "splade": {"contrastive", "kl_cross", "flops_passages", "l1_queries", "anti_zero"},
        "splade_doc": {"contrastive", "kl_cross", "flops_passages", "anti_zero"},
    },
    "opensearch-sparse": {"student": {"kl_dense_teacher_sparse_teacher_batch", "flops_passages"}},
    "trove": {"contriever": {"contrastive"}, "graded": {"kl_qrels_batch"}},
    "led-best": {
        "lex_continue": {"contrastive", "kl_ranker", "flops_passages"},
        "led_first": {"contrastive", "kl_ranker", "rank_lex_continue"},
        "led_best": {"contrastive", "kl_ranker", "rank_lex_continue"},
    },
    # Last, since its texts differ: it rebuilds the files that the first three share.
    "openmatch": {"first_round": {"contrastive"}, "second_round": {"contrastive"}, "reranker": {"contrastive"}},
}


def cut(config: dict) -> dict:
    """Return a recipe with other data, models and sizes, but the same objectives and sources of training data."""
    original = config["dataset"]
    dataset = {key: original[key] for key in ("titles", "templates", "scores") if key in original}
    dataset |= {"name": "cut", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}}
    dataset["negatives"] = dict.fromkeys(original.get("negatives", {}), "negatives.tsv")
    stages = {name: small(stage, config["stages"]) for name, stage in config["stages"].items()}
    rest = {key: value for key, value in config.items() if key not in ON_CPU}
    return rest | {
        "dataset": dataset,
        "tokenizer": "pretrain",
        "mining": {"depth": 10, "hits": 15},
        "evaluation": config["evaluation"] | {"splits": ["dev"], "depth": 50, "gate": False},
        "stages": {"pretrain": PRETRAIN | {"positions": 80}} | stages,
    }


def small(stage: dict, stages: dict) -> dict:
    """Return a stage that starts from a small model, and learns a little from short texts."""
    stage = {key: value for key, value in stage.items() if key not in ("tokenizer", "resources")} | SIZES
    if stage["init"] not in stages:
        stage["init"] = "pretrain"
    if "rerank" in stage:
        stage["rerank"] = stage["rerank"] | {"depth": 5}
    if stage["family"] == "ranker" and not stage.get("train", True):  # the small model has no classifier
        stage |= {"train": True, "negatives": ["bm25"], "negatives_per_query": 1}
    return stage


def write_scores(path) -> None:
    """Write SPLADE's kind of score file: each training query's own passage and those of the next queries."""
    scores = {query: {query + i: 10.0 - i for i in range(20)} for query in range(200)}
    with gzip.open(path, "wb") as file:
        pickle.dump(scores, file)


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    workflow = WorkflowCopy(tmp_path_factory.mktemp("recipes"))
    data = workflow.folder / "data"
    data.mkdir()
    write_data(data)
    (data / "titles.tsv").write_text("".join(f"{i}\ttitle of {i}\n" for i in range(0, 300, 2)))
    for scores in {s for name in TERMS for s in RECIPES[f"recipes/{name}.yaml"]["dataset"].get("scores", {}).values()}:
        write_scores(data / scores)
    return workflow


@pytest.mark.parametrize("name", TERMS)
def test_a_recipe_runs_to_its_report(workflow, name):
    config = cut(RECIPES[f"recipes/{name}.yaml"])
    path = workflow.write_config(config)
    answer = workflow.snakemake("led_final", "--cores", "2", "--configfile", path)
    logs = sorted(workflow.folder.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)[-3:]
    assert answer.returncode == 0, answer.stderr[-3000:] + "".join(f"\n{p}\n{p.read_text()[-2000:]}" for p in logs)

    results, recipe = workflow.folder / "results" / "cut", load_recipe(config)
    page = (results / "report" / "index.html").read_text()
    for system in needs.systems(recipe):
        measures = json.loads((results / "eval" / f"{system}.dev.json").read_text())["measures"]
        assert 0 <= measures["MRR@10"] <= 1 and f">{system}<" in page
    for stage, terms in TERMS[name].items():
        lines = [json.loads(line) for line in (results / "models" / stage / "train.jsonl").read_text().splitlines()]
        assert terms <= lines[0].keys() and lines[-1]["finished"]
        assert all(math.isfinite(line[term]) for line in lines if "loss" in line for term in terms)
