"""The workflow as another one uses it: as a module, from the catalog's standard place, and in another directory."""

import subprocess
from pathlib import Path

import pytest
import yaml
from workflow_copy import Plan, WorkflowCopy

pytestmark = pytest.mark.pipeline

TINY = Path(__file__).with_name("tiny.yaml")
OUTER = """
configfile: "outer.yaml"


rule every:
    input:
        "own.txt",
        "results/tiny/report/table.txt",


rule own:
    output:
        "own.txt",
    shell:
        "echo ${{HF_HUB_OFFLINE:-unset}} ${{PYTHONUTF8:-unset}} > {output}"


module led:
    snakefile:
        "HOME/Snakefile"
    config:
        config["led"]
    MORE


use rule * from led AS


onstart:
    led.onstart()
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    return WorkflowCopy(tmp_path_factory.mktemp("led"))


def outer(workflow: WorkflowCopy, folder: Path, names: str = "", more: str = "") -> Path:
    """Write a workflow that uses ours, with a config of its own."""
    text = OUTER.replace("HOME", str(workflow.folder)).replace("AS", names).replace("MORE", more)
    (folder / "Snakefile").write_text(text)
    config = {"led": yaml.safe_load(TINY.read_text()), "depth": 3}
    (folder / "outer.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def snakemake(workflow: WorkflowCopy, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    options = workflow.options(**environment) | {"cwd": folder}
    return subprocess.run(workflow.command(*arguments), **options, capture_output=True, text=True)


def plan(workflow: WorkflowCopy, folder: Path, *arguments: str) -> Plan:
    answer = snakemake(workflow, folder, *arguments, "--dry-run")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return Plan(answer.stdout)


@pytest.mark.parametrize(("names", "prefix"), [("", ""), ("as led_*", "led_")])
def test_another_workflow_plans_the_same_jobs_beside_its_own(workflow, tmp_path, names, prefix):
    ours = workflow.plan("led_final", config=yaml.safe_load(TINY.read_text()))
    folder = outer(workflow, tmp_path, names)
    used = plan(workflow, folder, f"{prefix}led_final")
    assert used.counts == {f"{prefix}{rule}": count for rule, count in ours.counts.items()}
    assert used.outputs == ours.outputs
    # Its first rule is what it makes by default, as it was without the module.
    everything = plan(workflow, folder)
    assert everything.counts["every"] == everything.counts["own"] == 1 and not everything.counts[f"{prefix}led_final"]


def test_jobs_of_a_module_find_the_package_and_leave_those_of_the_other_workflow_alone(workflow, tmp_path):
    folder = outer(workflow, tmp_path)
    targets = ("own.txt", "results/tiny/prepared/passages.parquet")
    answer = snakemake(workflow, folder, *targets, "--cores", "1", HF_HUB_OFFLINE="", PYTHONUTF8="")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (folder / "own.txt").read_text() == "unset unset\n"
    assert (folder / "results" / "tiny" / "prepared" / "passages.json").is_file()
    assert (folder / "results" / "tiny" / "benchmarks" / "prepare" / "passages.tsv").is_file()
    assert not list((folder / ".snakemake" / "led").glob("*.run"))


def test_a_prefix_is_refused_with_a_sentence(workflow, tmp_path):
    answer = snakemake(workflow, outer(workflow, tmp_path, more='prefix: "elsewhere"'), "--dry-run")
    text = answer.stdout + answer.stderr
    assert answer.returncode == 1 and "Traceback" not in text
    assert "give each module a dataset.name of its own" in text


def test_a_module_without_a_config_is_the_default_recipe(workflow, tmp_path):
    (tmp_path / "Snakefile").write_text(
        f'module led:\n    snakefile: "{workflow.folder}/Snakefile"\n\nuse rule * from led\n'
    )
    assert plan(workflow, tmp_path, "led_final").counts == workflow.plan("led_final").counts


def test_the_standard_place_of_a_workflow_makes_the_same(workflow, tmp_path):
    config = ("--configfile", str(TINY))
    standard = plan(workflow, tmp_path, "--snakefile", f"{workflow.folder}/workflow/Snakefile", *config)
    ours = plan(workflow, tmp_path, "led_final", "--snakefile", f"{workflow.folder}/Snakefile", *config)
    assert standard.outputs == ours.outputs
    assert standard.counts - ours.counts == {"all": 1} and ours.counts - standard.counts == {"led_final": 1}


def test_another_directory_takes_the_default_recipe_of_the_workflow_or_its_own(workflow, tmp_path):
    elsewhere = ("led_final", "--directory", str(tmp_path))
    assert workflow.plan(*elsewhere).counts == workflow.plan("led_final").counts
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(TINY.read_text())
    assert workflow.plan(*elsewhere).counts["docstrings"] == 1
