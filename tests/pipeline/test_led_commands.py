"""The subcommands of `led` that start Snakemake: what is out of date, and downloads."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import file_server
import hub_server
import pytest
import tiny
import yaml
from workflow_copy import ROOT, WorkflowCopy

from led_pipeline.inspection.workflow import freshness

pytestmark = pytest.mark.pipeline
TINY = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text())


def test_inspect_says_what_snakemake_would_run_again(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    workflow.run_fake_jobs(TINY)
    results = tmp_path / "results" / "tiny"

    def state(config: Path | None = None):
        return freshness(results, "tiny", config, results / "report" / "recipe.json", True)

    # The recorded recipe makes the same params as the config.
    fresh = state()
    assert (fresh.unchecked, fresh.stale, fresh.missing, fresh.following) == (None, [], [], [])

    changed = copy.deepcopy(TINY)
    changed["stages"]["led"]["learning_rate"] = 2.0e-4
    later = state(workflow.write_config(changed))
    stale = {file: job for job in later.stale for file in job.outputs}
    assert stale.keys() == {"results/tiny/models/led", "results/tiny/report/recipe.json"}
    assert stale["results/tiny/models/led"].reason.startswith("Params have changed")
    assert "results/tiny/eval/led.dev.json" in {file for job in later.following for file in job.outputs}

    # Snakemake makes a missing file again only if what was made from it is missing or out of date, too.
    (results / "eval" / "bm25.dev.json").unlink()
    assert state().missing == []
    (results / "report" / "index.html").unlink()
    missing = {file for job in state().missing for file in job.outputs}
    assert {"results/tiny/eval/bm25.dev.json", "results/tiny/report/index.html"} <= missing

    broken = tmp_path / "broken.yaml"
    broken.write_text("dataset: {name: tiny}\n")
    assert state(broken).unchecked.startswith("Snakemake's dry run failed") and not state(broken).stale


# --- downloads

NAMES = ("collection.tsv", "queries.dev.tsv", "qrels.dev.tsv")
DOWNLOADED = {
    "dataset": {"name": "small", "source": "download", "splits": {"dev": {}}},
    "tokenizer": "org/encoder",
    "resources": {"encode": {"gpu": 8}, "search": {"gpu": 8}},
    "stages": {"den": {"family": "dense", "init": "org/encoder", "train": False, "passage_length": 64}},
}


def led(workflow: WorkflowCopy, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run `led` in the copy of the workflow."""
    options = workflow.options(**environment)
    options["env"]["PYTHONPATH"] = str(workflow.folder / "src")
    command = [sys.executable, "-m", "led_pipeline.cli", *map(str, arguments)]
    return subprocess.run(command, **options, capture_output=True, text=True)


def write_sources(workflow: WorkflowCopy, server: file_server.FileServer) -> None:
    """Write the list of published files, all on the local server."""
    unknown = {"bytes": None, "verified": False, "licence": "none"}
    entries = [{"name": name, "url": [server.url(f"/{name}")], **unknown} for name in NAMES]
    (workflow.folder / "config" / "sources.yaml").write_text(yaml.safe_dump({"files": entries}))


def test_download_fetches_data_and_models_once_and_needs_no_gpu(tmp_path, tmp_path_factory):
    model = tmp_path_factory.mktemp("model")
    tiny.save_tokenizer(model)
    tiny.backbone("dense").save_pretrained(model)
    workflow = WorkflowCopy(tmp_path)
    config = workflow.write_config(DOWNLOADED)
    with file_server.serving() as server, hub_server.serve({"org/encoder": model}) as endpoint:
        server.content = {f"/{name}": f"{name}\n".encode() for name in NAMES}
        write_sources(workflow, server)
        hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        answer = led(workflow, "download", config, **hub)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "model org/encoder: results/small/hub/org--encoder" in answer.stdout
        folder = tmp_path / "results" / "small"
        assert (folder / "source" / "collection.tsv").read_text() == "collection.tsv\n"
        assert (folder / "hub" / "org--encoder" / "model.safetensors").is_file()
        requests = len(server.requests)
        assert led(workflow, "download", "--configfile", config, **hub).returncode == 0
        assert len(server.requests) == requests
    # A run fetches nothing again, and makes its own checks when it starts: this machine has no 8 GPUs.
    plan = workflow.plan("results/small/models/den", "results/small/prepared/passages.parquet", config=DOWNLOADED)
    assert not plan.counts["download"] and not plan.counts["fetch_model"]
    where = ("--cores", "1", "--configfile", config)
    answer = workflow.snakemake("results/small/vectors/den/dev.npy", *where, HF_HUB_OFFLINE="1")
    assert answer.returncode == 1 and "resources.encode.gpu asks for 8" in answer.stdout + answer.stderr


def test_gpus_are_looked_for_only_where_a_job_needs_one_and_findings_are_printed_once(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    tiny.save_tokenizer(tmp_path / "model")
    tiny.backbone("dense").save_pretrained(tmp_path / "model")
    recipe = DOWNLOADED | {"tokenizer": "./model"}
    recipe["stages"] = {"den": recipe["stages"]["den"] | {"init": "./model"}}
    with file_server.serving() as server:
        server.content = {f"/{name}": f"{name}\n".encode() for name in NAMES}
        write_sources(workflow, server)
        where = ("--cores", "1", "--configfile", workflow.write_config(recipe))
        everything = workflow.snakemake("led_final", *where)
        printed = everything.stdout + everything.stderr
        assert everything.returncode == 1 and printed.count("resources.encode.gpu asks for 8") == 1, printed
        assert "Traceback" not in printed and not (tmp_path / "results" / "small" / "source").exists()
        alone = workflow.snakemake("results/small/source/collection.tsv", *where)
        assert alone.returncode == 0, alone.stdout + alone.stderr
    assert (tmp_path / "results" / "small" / "source" / "collection.tsv").read_text() == "collection.tsv\n"


def test_a_download_that_fails_says_which_file_is_missing(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    with file_server.serving() as server:
        server.content = {"/collection.tsv": b"1\ttext\n"}
        write_sources(workflow, server)
        config = workflow.write_config(DOWNLOADED | {"stages": {}})
        answer = led(workflow, "download", config)
    assert answer.returncode == 1
    assert "file queries.dev.tsv: missing" in answer.stdout
    assert "queries.dev.tsv could not be downloaded" in answer.stdout and "404 Not Found" in answer.stdout


def test_a_recipe_without_downloads_says_so(tmp_path):
    workflow = WorkflowCopy(tmp_path)
    answer = led(workflow, "download", "config/demo.yaml")
    assert answer.returncode == 0 and "nothing to download: its dataset is made from the" in answer.stdout


# --- a recipe for a folder


@pytest.mark.java
def test_a_recipe_of_init_runs_from_its_folder_to_the_report(tmp_path):
    """Take 300 docstrings as somebody's data without a dev split, and make the models smaller."""
    workflow = WorkflowCopy(tmp_path)
    data = tmp_path / "my data"
    sample = ("--passages", "300", "--dev-queries", "20", "--seed", "1")
    making = [sys.executable, "-m", "led_pipeline.demo.docstrings", *sample, "--out", str(data)]
    subprocess.run(making, check=True, capture_output=True, **workflow.options())
    for name in ("queries.dev.tsv", "qrels.dev.tsv", "source.json"):
        (data / name).unlink()
    answer = led(workflow, "init", "--data", "my data", "--gpus", "0")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    path = tmp_path / "my_data.yaml"
    recipe = yaml.safe_load(path.read_text())
    assert recipe["dataset"]["splits"]["dev"]["sample_of"] == "train"
    assert "nothing prevents a run" in led(workflow, "plan", path).stdout
    recipe["stages"]["pretrain"] |= {"vocabulary": 1000, "hidden": 32, "intermediate": 64}
    recipe["defaults"]["max_steps"] = 3
    where = ("--cores", "2", "--configfile", workflow.write_config(recipe))
    answer = workflow.snakemake("led_final", *where)
    assert answer.returncode == 0, answer.stderr
    assert "led" in (tmp_path / "results" / "my_data" / "report" / "table.txt").read_text()

    # The other commands look at a real run.
    text = led(workflow, "inspect", "results/my_data").stdout
    assert "up to date: Snakemake would run no job" in text and "3 steps" in text
    assert "missing" not in text and "opens with sentence-transformers:\n  den_warmup, " in text
    examples = led(workflow, "inspect", "trainset", "led", "--query", "0").stdout
    assert "epoch 1, example" in examples and "lex_continue " in examples and "negative, " in examples
    compared = led(workflow, "compare", "results/my_data", "led", "bm25").stdout
    assert "led − bm25" in compared
