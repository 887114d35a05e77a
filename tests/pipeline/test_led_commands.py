"""The subcommands of `led` that start Snakemake: what is out of date, and downloads."""

import copy
from pathlib import Path

import pytest
import yaml
from workflow_copy import WorkflowCopy

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
