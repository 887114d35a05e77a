"""`--all-temp`: intermediate files go, results never do, and the report reads nothing that it does not wait for."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from configs import changed
from workflow_copy import ALL_AT_ONCE, ROOT, Plan, WorkflowCopy

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

TINY = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
SMALL = changed(
    TINY,
    {
        "dataset.shards": 1,
        "dataset.docstrings": {"passages": 300, "dev_queries": 40},
        "stages": {name: TINY["stages"][name] for name in ("pretrain", "den_warmup")},
        "evaluation": {"depth": 50, "compare": [["den_warmup", "bm25"]], "side_by_side": ["bm25", "den_warmup"]},
        "variants": {"den_int8": {"of": "den_warmup", "precision": "int8"}},
    },
)
INTERMEDIATE = {"tokens", "vectors", "pools", "trainsets"}


def folder_of(file: str) -> str:
    return file.split("/")[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run a small recipe for real, with --all-temp."""
    workflow = WorkflowCopy(tmp_path_factory.mktemp("all_temp"))
    where = ("--cores", "2", "--configfile", workflow.write_config(SMALL))
    answer = workflow.snakemake("led_final", "--all-temp", *where)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return workflow


def test_only_intermediate_files_go(finished):
    results = finished.folder / "results" / "tiny"
    outputs = finished.plan("led_final", "--forceall", config=SMALL).outputs
    removed = {file for file in outputs if not (results / file).exists()}
    assert removed == {file for file in outputs if folder_of(file) in INTERMEDIATE}
    assert {folder_of(file) for file in removed} == INTERMEDIATE
    assert {folder_of(file) for file in outputs - removed} >= {
        "models",
        "rankings",
        "runs",
        "eval",
        "report",
        "prepared",
    }


@pytest.mark.parametrize("options", [(), ("--all-temp",)])
def test_a_finished_run_makes_nothing_again(finished, options):
    assert not finished.plan("led_final", *options, config=SMALL).jobs


def test_the_report_reads_only_what_it_waits_for(finished, tmp_path):
    """Besides, the sizes of vectors (in their notes) and of indexes, and Snakemake's measurements of earlier jobs."""
    forced = finished.plan("led_final", "--forcerun", "report", config=SMALL)
    (job,) = [job for job in forced.jobs if job.rule == "report"]
    results, copy = finished.folder / "results" / "tiny", tmp_path / "results" / "tiny"
    notes = [path.relative_to(results) for path in results.glob("vectors/*/speed.*")]
    for name in [*job.inputs, "index", "benchmarks", *notes]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        method = shutil.copytree if (results / name).is_dir() else shutil.copy2
        method(results / name, copy / name)
    (copy / "benchmarks" / "report.tsv").unlink()
    out = [f"--out-{kind}={tmp_path / kind}" for kind in ("html", "text", "json")]
    command = [sys.executable, "-m", "led_pipeline.report.page", "--config", copy / "report" / "recipe.json"]
    command += ["--results", "results/tiny", "--published", ROOT / "config" / "published.yaml", *out]
    environment = finished.options()["env"] | {"PYTHONPATH": str(finished.folder / "src")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    report = results / "report"
    assert json.loads((tmp_path / "json").read_text()) == json.loads((report / "metrics.json").read_text())
    assert (tmp_path / "text").read_text() == (report / "table.txt").read_text()
    assert (tmp_path / "html").read_text() == (report / "index.html").read_text()


def test_no_target_costs_a_result(tmp_path):
    """Snakemake keeps the inputs of a target rule, but not those of a target file."""
    workflow = WorkflowCopy(tmp_path)
    where = ("--configfile", workflow.write_config(TINY))
    answer = workflow.snakemake("results/tiny/eval/led.dev.json", *ALL_AT_ONCE, "--all-temp", *where, fake=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    results = tmp_path / "results" / "tiny"
    files = {file for job in Plan(answer.stderr).jobs for file in job.outputs}
    removed = {file for file in files if not (results / file).exists()}
    assert {folder_of(file) for file in removed} == INTERMEDIATE
    assert {"models/den_warmup", "models/led", "runs/led.dev.trec"} <= files - removed


def test_snakemake_s_own_report_has_the_results_with_captions(finished):
    where = ("--configfile", finished.write_config(SMALL))
    answer = finished.snakemake("led_final", "--report", "snakemake.html", *where)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    page = (finished.folder / "snakemake.html").read_text()
    for name in ("index.html", "table.txt", "metrics.json", "den_int8.dev.json", "train.jsonl"):
        assert name in page
    assert "ranked by den_int8" in page and "The log of the training of den_warmup" in page
    assert "recipe of the dataset" in page and "<em>tiny</em>" in page
