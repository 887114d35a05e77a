"""A checkout, a folder of runs and data with names that are special to a shell or to Snakemake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow_copy import ROOT, WorkflowCopy

pytestmark = pytest.mark.pipeline

CHECKOUT = 'check out\'s; $HOME & "é"'
RUN = 'a {run}\'s; $(touch executed) `x` & "模型"'
DATA = "da ta/{y}; $(touch executed)'s"


@pytest.mark.java
def test_a_run_finishes_whatever_its_folders_are_called(tmp_path):
    folder, checkout = tmp_path / RUN, tmp_path / CHECKOUT
    (folder / DATA).mkdir(parents=True)
    checkout.symlink_to(ROOT)
    texts = {
        "col lection.tsv": "".join(f"p{i}\tword{i} and more\n" for i in range(9)),
        "queries.dev.tsv": "".join(f"q{i}\tword{i}\n" for i in range(9)),
        "qrels.dev.tsv": "".join(f"q{i}\t0\tp{i}\t1\n" for i in range(9)),
    }
    for name, text in texts.items():
        (folder / DATA / name).write_text(text)
    dataset = {
        "name": "odd",
        "source": "folder",
        "folder": DATA,
        "collection": "col lection.tsv",
        "splits": {"dev": {}},
    }
    config = folder / "re cipe's.yaml"
    config.write_text(yaml.safe_dump({"dataset": dataset, "stages": {}, "evaluation": {"depth": 10}}))
    where = ("--snakefile", checkout / "Snakefile", "--directory", folder, "--configfile", config)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "snakemake", "led_final", "--cores", "2", *map(str, where)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "bm25     1.000" in (folder / "results" / "odd" / "report" / "table.txt").read_text()
    assert not [*tmp_path.rglob("executed")]


@pytest.mark.parametrize("name", ["br{ace}s", "co:lon"])
def test_a_checkout_path_that_snakemake_cannot_use_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    answer = WorkflowCopy(tmp_path / name).snakemake("led_final", "--dry-run")
    assert answer.returncode == 1
    assert "the workflow cannot be in a folder with" in answer.stdout + answer.stderr
