"""Before the run: real jobs check the machine and fetch models from a local hub."""

import pytest
import tiny
import yaml
from hub_server import serve
from workflow_copy import ROOT, WorkflowCopy

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

TINY = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
CONFIG = TINY | {
    "tokenizer": "org/encoder",
    "stages": {"den": {"family": "dense", "init": "org/encoder", "negatives": ["bm25"]}},
    "evaluation": {"splits": ["dev"], "timed_queries": 0},
}
FOLDER = "results/tiny/hub/org--encoder"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.save_tokenizer(folder)
    tiny.backbone("dense").save_pretrained(folder)
    return folder


def run(workflow, target, config, endpoint):
    where = ("--cores", "1", "--configfile", workflow.write_config(config))
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(workflow.folder / "home"), "NO_PROXY": "127.0.0.1"}
    return workflow.snakemake(target, *where, **hub)


def test_a_model_is_fetched_before_the_run_and_read_from_the_results(model, tmp_path):
    workflow = WorkflowCopy(tmp_path)
    with serve({"org/encoder": model}) as endpoint:
        answer = run(workflow, FOLDER, CONFIG, endpoint)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    names = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert {"model.safetensors", "tokenizer.json", "hub.json"} <= names
    plan = workflow.plan("results/tiny/models/den", config=CONFIG)
    assert plan.counts["train"] == 1 and not plan.counts["fetch_model"] and not plan.counts["preflight"]
    assert FOLDER.removeprefix("results/tiny/") in next(job for job in plan.jobs if job.rule == "train").inputs


def test_a_missing_model_stops_the_run_before_its_first_job(model, tmp_path):
    workflow = WorkflowCopy(tmp_path)
    with serve({"org/encoder": model}) as endpoint:
        absent = CONFIG | {"stages": {"den": CONFIG["stages"]["den"] | {"init": "org/absent"}}}
        answer = run(workflow, "results/tiny/models/den", absent, endpoint)
    assert answer.returncode == 1
    assert "fatal  model" in answer.stderr
    assert "stages.den.init: 'org/absent' is not a local folder, and the hub" in answer.stderr
    assert "org/encoder is on the hub" in answer.stderr, "all findings at once"
    assert not (tmp_path / "results" / "tiny" / "source").exists()
