"""The checks before a run, and the output and exit status of `led plan`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configs import FOLDER, RECIPES, changed

from led_pipeline.files.atomic import size
from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus
from led_pipeline.plan import checks, engines, gpu_checks, machine, preflight
from led_pipeline.plan.machine import Gpu
from led_pipeline.plan.site import Site
from led_pipeline.plan.table import estimate
from led_pipeline.plan.workload import workload
from led_pipeline.recipe import needs
from led_pipeline.recipe.load import load_recipe

PAPER, DEMO = RECIPES["config.yaml"], RECIPES["demo.yaml"]
BIG = Gpu("NVIDIA A100-SXM4-80GB", 80 * 2**30)


def site(tmp_path, **changes):
    files = {"sources": FOLDER / "sources.yaml", "published": FOLDER / "published.yaml", "gpus": []}
    return Site(tmp_path / "results" / "x", **files | changes)


def look(check, config, where):
    recipe = load_recipe(config)
    return list(check(recipe, where))


def devices(config, where):
    recipe = load_recipe(config)
    return list(gpu_checks.devices(recipe, where, estimate(recipe, where.results, limit=where.limit)))


def levels(findings):
    return [finding.level for finding in findings]


def test_too_many_gpus_are_fatal_with_advice(tmp_path):
    (finding,) = devices(PAPER, site(tmp_path, gpus=[BIG, BIG]))
    assert finding.level == "fatal"
    assert "resources.train.gpu asks for 4 and 2 are visible" in finding.text and "--resources gpu=2" in finding.text
    assert levels(devices(PAPER, site(tmp_path, gpus=[BIG] * 8))) == ["ok"]
    assert levels(devices(PAPER, site(tmp_path, gpus=[BIG] * 2, limit=2))) == ["ok"]
    assert levels(devices(DEMO, site(tmp_path))) == ["ok"]


def test_a_training_on_several_nodes_needs_slurm(tmp_path):
    several = changed(PAPER, {"resources.train.nodes": 2})
    (finding,) = devices(several, site(tmp_path, gpus=[BIG] * 8))
    assert finding.level == "fatal"
    assert finding.text.startswith("the training of den_warmup asks for 2 nodes") and "profiles/slurm" in finding.text
    assert levels(devices(several, site(tmp_path, elsewhere=True))) == ["note"]


def test_a_batch_that_no_epoch_fills_is_a_note(tmp_path):
    few = changed(DEMO, {"dataset.docstrings.passages": 5_005, "stages.led.batch_size": 5})
    recipe, where = load_recipe(few), site(tmp_path)
    findings = list(checks.batches(recipe, where, estimate(recipe, where.results)))
    assert levels(findings) == ["note"] * 5, "led's batch is what an epoch has"
    text = (
        "stages.den_warmup.batch_size: 64 is more than the 5 examples of an epoch (dataset.docstrings), so batches hold"
    )
    assert findings[0].text == f"{text} 5"
    assert not list(checks.batches(load_recipe(DEMO), where, estimate(load_recipe(DEMO), where.results)))


def test_on_a_submit_node_the_gpus_are_a_note(tmp_path, monkeypatch):
    monkeypatch.delenv("LED_GPUS", raising=False)
    assert preflight.elsewhere("slurm") and not preflight.elsewhere("local")
    (finding,) = devices(PAPER, site(tmp_path, elsewhere=preflight.elsewhere("slurm")))
    assert (finding.level, "other machines" in finding.text) == ("note", True)
    monkeypatch.setenv("LED_GPUS", "elsewhere")
    assert preflight.elsewhere("local")
    monkeypatch.setenv("LED_GPUS", "nowhere")
    with pytest.raises(InputError, match="LED_GPUS: 'nowhere' is neither"):
        preflight.elsewhere("local")


def test_a_limit_that_does_not_divide_a_batch_is_fatal(tmp_path):
    findings = devices(PAPER, site(tmp_path, gpus=[BIG] * 3, limit=3))
    assert "stages.den_warmup.batch_size: 16 queries cannot be split evenly over the 3 GPUs" in findings[0].text
    assert levels(findings)[:4] == ["fatal"] * 4 and findings[-1].level == "ok", (
        "48 queries of the lexicon stages divide"
    )


def test_a_note_names_a_gpu_that_is_too_small_and_its_stage(tmp_path):
    findings = devices(PAPER, site(tmp_path, gpus=[Gpu("Tesla T4", 4 * 2**30)] * 8))
    assert "stage led takes about" in " ".join(f.text for f in findings if f.level == "note")


def test_only_gpus_that_jobs_may_use_are_counted(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    rows = "\n".join(f"{i}, GPU-{i}{i}, NVIDIA A100, 81920" for i in range(4))
    list_gpus = "".join(f"echo 'GPU {i}: A (UUID: GPU-{i}{i})'; " for i in range(4))
    program.write_text(f"#!/bin/sh\ncase $1 in --list-gpus) {list_gpus};; *) echo '{rows}';; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpus() == [Gpu("NVIDIA A100", 80 * 2**30)] * 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-22,MIG-7")
    assert machine.gpus() == [Gpu("NVIDIA A100", 80 * 2**30), Gpu("", None)]


def test_a_missing_faiss_is_fatal(monkeypatch):
    monkeypatch.setattr(machine, "python", lambda _: (0, "1.15.1"))
    assert levels(checks.faiss()) == ["ok"]
    monkeypatch.setattr(machine, "python", lambda _: (1, "ModuleNotFoundError: No module named 'faiss'"))
    (finding,) = checks.faiss()
    assert finding.level == "fatal" and "No module named 'faiss'" in finding.text and "envs/cpu.txt" in finding.text


WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


def torch_answers(monkeypatch, *cards, version="2.13.0+cu130", cuda="13.0"):
    answer = json.dumps([version, cuda, WHEEL if cards else [], cards])
    monkeypatch.setattr(machine, "python", lambda _: (0, answer))
    monkeypatch.setattr(gpus, "driver_version", lambda: "535.104.05")


def test_torch_without_cuda_or_with_an_old_driver_is_reported_if_gpus_are_requested(tmp_path, monkeypatch):
    torch_answers(monkeypatch, version="2.13.0+cpu", cuda=None)
    (finding,) = look(gpu_checks.torch, PAPER, site(tmp_path, gpus=[BIG] * 8))
    assert finding.level == "fatal" and "2.13.0+cpu" in finding.text and "processor only" in finding.text
    assert look(gpu_checks.torch, DEMO, site(tmp_path, gpus=[BIG])) == []
    assert look(gpu_checks.torch, PAPER, site(tmp_path)) == []
    torch_answers(monkeypatch)
    (finding,) = look(gpu_checks.torch, PAPER, site(tmp_path, gpus=[BIG] * 8))
    assert "driver 535.104.05 is too old: torch's CUDA 13.0 needs 580.65.06 or newer" in finding.text


def test_cards_without_kernels_or_without_bf16_are_named(tmp_path, monkeypatch):
    where = site(tmp_path, gpus=[BIG] * 8)
    torch_answers(monkeypatch, ["NVIDIA H100 80GB HBM3", [9, 0]])
    assert levels(look(gpu_checks.torch, PAPER, where)) == ["ok"]
    torch_answers(monkeypatch, *[["Tesla V100-SXM2-16GB", [7, 0]]] * 8)
    findings = look(gpu_checks.torch, PAPER, where)
    assert levels(findings) == ["fatal"] * 7, "six stages in bf16, and the card itself"
    assert "Tesla V100-SXM2-16GB: its compute capability is 7.0" in findings[-1].text
    torch_answers(monkeypatch, ["Tesla T4", [7, 5]])
    findings = look(gpu_checks.torch, PAPER, where)
    assert findings[0].text == (
        "stages.den_warmup.precision: bf16 needs a card of Ampere or newer, and Tesla T4 has the compute capability"
        " 7.5; set fp16 (or float32)"
    )
    half = changed(PAPER, {"defaults.precision": "fp16"})
    assert levels(look(gpu_checks.torch, half, where)) == ["ok"]


def test_a_few_vectors_are_searched_on_the_device_before_a_run(tmp_path, monkeypatch):
    where = site(tmp_path, gpus=[BIG])
    commands = []
    monkeypatch.setattr(machine, "python", lambda code: commands.append(code) or (0, "NVIDIA A100-SXM4-80GB"))
    (finding,) = look(gpu_checks.dense_search, PAPER, where)
    assert (finding.level, finding.text) == ("ok", "a few vectors, on NVIDIA A100-SXM4-80GB")
    exec(commands[0].replace("print(probe())", "assert callable(probe)"), {})
    monkeypatch.setattr(machine, "python", lambda _: (-6, "CUDA error 209"))
    (finding,) = look(gpu_checks.dense_search, PAPER, where)
    assert finding.level == "fatal" and "CUDA error 209" in finding.text and "resources.search.gpu to 0" in finding.text
    assert not look(gpu_checks.dense_search, DEMO, where) and not look(gpu_checks.dense_search, PAPER, site(tmp_path))


def test_the_question_to_torch_has_an_answer_without_a_gpu():
    status, output = machine.python(gpu_checks.CARDS)
    assert status == 0 and json.loads(output)[2:] == [[], []]


def test_an_old_java_is_fatal(monkeypatch):
    def no_java():
        raise InputError("java: Anserini needs Java 21 or newer, but JAVA_HOME has 17")

    monkeypatch.setattr(engines, "find_java", no_java)
    assert next((f.level, f.subject) for f in engines.java()) == ("fatal", "Java")


def test_a_disk_that_is_too_small_is_fatal_and_existing_results_count(tmp_path):
    where = site(tmp_path)
    forecast = estimate(load_recipe(PAPER), where.results)
    folder = tmp_path / "results"
    text = next(checks.disk(where, forecast)).text
    assert str(tmp_path) in text and "still to be written" in text
    (folder / "x").mkdir(parents=True)
    with (folder / "x" / "vectors").open("wb") as file:
        file.truncate(round(forecast.peak))  # a sparse file of that size
    finding = next(checks.disk(where, forecast))
    assert finding.level == "ok" and "about 0 kB still" in finding.text


def test_leftovers_of_killed_jobs_do_not_count_as_done_and_partial_downloads_do(tmp_path):
    where = site(tmp_path)
    forecast = estimate(load_recipe(PAPER), where.results)
    for name in (".model.1a2b3c4d.part/x", "index/.bm25.abc/docs", "source/.archives/collection.tar.gz.part"):
        path = where.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(round(forecast.peak / 4))
    text = next(checks.disk(where, forecast)).text
    assert f"about {size(checks.assumptions.DISK_RESERVE * 0.75 * forecast.peak)} still" in text


def test_all_missing_files_of_a_recipe_are_reported_at_once(tmp_path):
    dataset = {"name": "own", "source": "folder", "folder": str(tmp_path), "splits": {"train": {}, "dev": {}}}
    config = DEMO | {"dataset": dataset}
    (tmp_path / "collection.tsv").touch()
    findings = look(checks.files, config, site(tmp_path))
    assert {Path(f.text.split(":")[0]).name for f in findings} == {
        "queries.train.tsv",
        "qrels.train.tsv",
        "queries.dev.tsv",
        "qrels.dev.tsv",
    }
    assert set(levels(findings)) == {"fatal"}
    config = changed(PAPER, {"dataset.titles": "titels.tsv"})
    (finding,) = look(checks.files, config, site(tmp_path))
    assert finding.level == "fatal" and "did you mean titles.tsv?" in finding.text
    assert levels(look(checks.files, PAPER, site(tmp_path))) == ["ok"]


def gate(config, where):
    recipe = load_recipe(config)
    return list(checks.gate(recipe, where, workload(recipe, where.results)))


def test_a_gate_needs_a_verified_number(tmp_path):
    assert gate(PAPER, site(tmp_path)) == []
    assert levels(gate(changed(PAPER, {"evaluation.gate": True}), site(tmp_path))) == ["ok"]
    renamed = changed(PAPER, {"evaluation.gate": True, "dataset.name": "mine"})
    assert levels(gate(renamed, site(tmp_path))) == ["ok"], "the numbers belong to the content, not to the name"
    demo = changed(DEMO, {"evaluation.gate": True, "dataset.name": "msmarco"})
    assert levels(gate(demo, site(tmp_path))) == ["fatal"]
    folder = changed(renamed, {"dataset.source": "folder", "dataset.folder": str(tmp_path), "dataset.negatives": {}})
    folder["stages"] = {"led": {"family": "dense", "init": "some/encoder", "negatives": ["bm25"]}}
    folder["evaluation"] |= {"compare": [], "side_by_side": None}
    assert levels(gate(folder, site(tmp_path))) == ["note"], "nobody has counted the passages yet"
    other = changed(PAPER, {"evaluation.gate": True, "evaluation.measures": ["MRR@10", "nDCG@10", "recall@50", "MAP"]})
    (finding,) = gate(other, site(tmp_path))
    assert finding.level == "fatal" and "needs hit@50, recall@1000, hit@1000; add them" in finding.text
    shallow = changed(other, {"evaluation.depth": 100})
    shallow["stages"].pop("ranker"), shallow["stages"].pop("led_rt")
    shallow["evaluation"]["compare"] = []
    (finding,) = gate(shallow, site(tmp_path))
    assert "needs hit@50; add them" in finding.text, "rankings that end at 100 are not compared at 1,000"
    published = tmp_path / "published.yaml"
    content = yaml.safe_load((FOLDER / "published.yaml").read_text())
    content["msmarco"]["systems"] = [row for row in content["msmarco"]["systems"] if row["verified"] == "unverified"]
    published.write_text(yaml.safe_dump(content))
    where = site(tmp_path, published=published)
    assert levels(gate(changed(PAPER, {"evaluation.gate": True}), where)) == ["fatal"]


# --- the command


def led(*arguments, folder, **environment):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")} | environment
    command = [sys.executable, "-m", "led_pipeline.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.java
def test_led_plan_prints_stages_jobs_disk_and_checks(tmp_path):
    answer = led("plan", "--configfile", FOLDER / "demo.yaml", folder=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert [
        line.split()[0] for line in answer.stdout.splitlines() if re.match(r"\w+ +(dense|lexicon|pretrain)", line)
    ] == needs.order(load_recipe(DEMO))
    for part in ("jobs: ", "disk: ", "ok     Java ", "ok     FAISS ", "nothing prevents a run"):
        assert part in answer.stdout


def test_led_plan_reports_all_faults_at_once_and_fails(tmp_path):
    answer = led("plan", "--configfile", FOLDER / "config.yaml", folder=tmp_path)
    assert answer.returncode == 1
    fatal = [line for line in answer.stdout.splitlines() if line.startswith("fatal")]
    assert len(fatal) >= 5 and f"{len(fatal)} of these would stop the run" in answer.stdout
    for key in ("resources.train.gpu", "stages.den_warmup.init", "stages.lex_warmup.init", "tokenizer: 'bert-base"):
        assert any(key in line for line in fatal)
    assert led("plan", "--configfile", FOLDER / "config.yaml", folder=tmp_path, LED_PREFLIGHT="warn").returncode == 0
    assert not (tmp_path / "results").exists()


def test_led_plan_reads_relative_paths_where_the_run_is(tmp_path):
    """As snakemake --directory does; the recipe itself is named from here."""
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    for name, line in {
        "collection.tsv": "p0\ta b\n",
        "queries.dev.tsv": "q0\ta\n",
        "qrels.dev.tsv": "q0\t0\tp0\t1\n",
    }.items():
        (work / "data" / name).write_text(line)
    dataset = {"name": "d", "source": "folder", "folder": "data", "splits": {"dev": {}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"dataset": dataset, "stages": {}}))
    assert "data/collection.tsv: no such file" in led("plan", "recipe.yaml", folder=tmp_path).stdout
    inside = led("plan", "recipe.yaml", "--directory", "work", folder=tmp_path)
    assert "3 of the dataset in data" in inside.stdout, inside.stdout + inside.stderr
    absent = led("plan", "recipe.yaml", "--directory", "absent", folder=tmp_path)
    assert absent.returncode == 2 and absent.stderr.startswith("error: absent: no such folder; create it first")


def test_led_plan_takes_the_recipe_of_the_run_s_folder_or_that_of_the_source_tree(tmp_path):
    assert "dataset msmarco:" in led("plan", folder=tmp_path).stdout
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text((FOLDER / "demo.yaml").read_text())
    assert "dataset demo:" in led("plan", folder=tmp_path).stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "error: recipe.yaml: no such file; name the config of a recipe"),
        ("a: [", "error: recipe.yaml:1: not valid YAML"),
        ("stages: {}\nstages: {}\n", "error: recipe.yaml:2: stages: duplicate key, already in line 1"),
        ("sede: 1\n", "error: recipe: dataset: this key is required"),
    ],
)
def test_an_unreadable_config_is_a_short_error(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "recipe.yaml").write_text(text)
    answer = led("plan", "--configfile", "recipe.yaml", folder=tmp_path)
    assert (answer.returncode, answer.stderr.startswith(sentence)) == (2, True), answer.stderr


def test_planning_imports_no_torch():
    code = "import sys; from led_pipeline import cli; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
