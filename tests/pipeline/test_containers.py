"""Jobs in an image (`--sdm apptainer`): which image, which paths, and a shell that needs no Python of the host.

Apptainer itself is replaced by a script, which runs the command on this machine.
"""

import os
import subprocess
from pathlib import Path

import pytest
from workflow_copy import ROOT, WorkflowCopy

pytestmark = pytest.mark.pipeline

TINY = Path(__file__).with_name("tiny.yaml")
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && echo "apptainer version 1.3.4" && exit
echo "$@" >> "$APPTAINER_CALLS"
while [ "$1" != bash ]; do shift; done
exec "$@"
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    workflow = WorkflowCopy(tmp_path_factory.mktemp("led"))
    program = workflow.folder / "fake" / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(0o755)
    return workflow


def run(workflow: WorkflowCopy, *arguments: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run Snakemake with fake jobs in fake containers; return its answer and apptainer's calls."""
    calls = workflow.folder / "calls"
    calls.write_text("")
    where = ("--cores", "1", "--configfile", str(TINY))
    answer = workflow.snakemake(*arguments, *where, fake=True, APPTAINER_CALLS=str(calls))
    return answer, calls.read_text().splitlines()


def test_jobs_run_in_the_image_of_the_clone(workflow):
    with_image = ("--sdm", "apptainer", "--apptainer-args", f"--nv --bind {workflow.folder}")
    answer, calls = run(workflow, "results/tiny/prepared/passages.parquet", *with_image)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    starts = [call for call in calls if call.startswith("exec --home")]
    assert len(starts) == 3, "preflight, docstrings, prepare_passages"
    assert all(f"--nv --bind {workflow.folder}" in call for call in starts)
    assert all(f" {workflow.folder}/envs/led.sif bash -c " in call for call in starts)


def test_without_the_option_there_are_no_containers(workflow):
    answer, calls = run(workflow, "results/tiny/prepared/dev.qrels")
    assert answer.returncode == 0 and calls == [], answer.stdout + answer.stderr
    assert "ingularity" not in answer.stdout + answer.stderr


def test_a_job_s_shell_takes_the_python_that_it_finds(tmp_path):
    """In an image, the Python of the host's Snakemake is not there."""
    tie = ROOT / "workflow" / "scripts" / "tied.sh"
    command = f". '{tie}' /no/such/python {os.getpid()}; python -c 'print(6 * 7)'"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1:] == ["42"], answer.stderr
