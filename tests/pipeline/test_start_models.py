"""Stages that start from a model of sentence-transformers, on a hub or in a folder: adopted, or refused before jobs."""

import json
import shutil

import pytest
import tiny
import yaml
from hub_server import serve
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from workflow_copy import ROOT, WorkflowCopy

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

TINY = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
NAME = "org/sentences"
TAKEN = "results/tiny/models/taken"


def config(init=NAME, **keys):
    """Return a recipe of a stage that is taken over, and of one that starts from that."""
    stage = {"family": "dense", "init": init, "train": False}
    chained = {"family": "dense", "init": "taken", "train": False}
    stages = {"stages": {"taken": stage | keys, "again": chained}, "defaults": {}, "tokenizer": init}
    evaluation = {"splits": ["dev"], "timed_queries": 0}
    return TINY | stages | {"evaluation": evaluation, "dataset": TINY["dataset"] | {"max_tokens": 128}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.save_tokenizer(folder / "plain")
    tiny.backbone("dense").save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain"), max_seq_length=20), Pooling(16, "mean"), Normalize()]
    prompts = {"query": "query: ", "document": "passage: "}
    SentenceTransformer(modules=modules, prompts=prompts).save(str(folder / "sentences"))
    return folder / "sentences"


def run(workflow, recipe, endpoint, *more):
    where = ("--cores", "1", "--configfile", workflow.write_config(recipe))
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(workflow.folder / "home"), "HF_HUB_OFFLINE": "0"}
    return workflow.snakemake(TAKEN, "results/tiny/models/again", *more, *where, NO_PROXY="127.0.0.1", **hub)


DIFFERS = (
    "stages.taken.pooling: '{}' is a sentence-transformers model with mean pooling (modules.json), but the recipe has"
    " cls; write pooling: mean; or set reinterpret: true to use it that way on purpose"
)


def test_a_hub_model_is_read_as_it_says_and_a_second_run_does_nothing(model, tmp_path):
    workflow = WorkflowCopy(tmp_path)
    with serve({NAME: model}) as endpoint:
        wrong = run(workflow, config(pooling="cls"), endpoint)
        assert wrong.returncode == 1 and not (tmp_path / "results" / "tiny" / "hub").exists()
        assert DIFFERS.format("").partition("' is")[2] in wrong.stderr and "stages.taken.pooling" in wrong.stderr
        answer = run(workflow, config(), endpoint)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for name in ("taken", "again"):
        saved = json.loads((tmp_path / "results" / "tiny" / "models" / name / "led.json").read_text())
        assert (saved["pooling"], saved["normalize"], saved["query_length"]) == ("mean", True, 20), name
        assert (saved["query_prefix"], saved["passage_prefix"]) == ("query: ", "passage: "), name
    log = (tmp_path / "logs" / "tiny" / "import" / "taken.log").read_text()
    assert "pooling: 'mean', as 'results/tiny/hub/org--sentences' says (mean pooling (modules.json))" in log
    targets = (TAKEN, "results/tiny/models/again")
    assert not workflow.plan(*targets, config=config()).jobs
    assert not workflow.plan(*targets, config=config()).jobs
    lengths = workflow.plan(*targets, config=config(query_length=32))  # the default, but said
    assert "models/taken" in lengths.triggered()


def test_a_folder_is_compared_when_the_recipe_is_loaded(model, tmp_path):
    workflow = WorkflowCopy(tmp_path)
    shutil.copytree(model, tmp_path / "sentences")
    answer = run(workflow, config("./sentences", pooling="cls"), "http://127.0.0.1:9", "--dry-run")
    assert answer.returncode == 1 and DIFFERS.format("sentences") in answer.stdout + answer.stderr
    answer = run(workflow, config("./sentences"), "http://127.0.0.1:9")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads((tmp_path / TAKEN / "led.json").read_text())["pooling"] == "mean"
    shutil.rmtree(tmp_path / "sentences")  # a finished stage does not need it any more
    assert not workflow.plan(TAKEN, config=config("./sentences")).jobs
