"""The summary of several runs: means over datasets, capped recall, and errors about missing files."""

import json
import subprocess
import sys

import pytest

from led_pipeline.data.formats.judgements import write_qrels
from led_pipeline.evaluation.evaluate import write_per_query
from led_pipeline.evaluation.measures import measure
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.report.summary import capped_recall, summary, summary_text


def test_capped_recall_divides_by_what_the_cut_lets_through():
    assert capped_recall(50 / 300, 300, cut=100) == pytest.approx(50 / 100)
    assert capped_recall(0.5, 4) == 0.5
    assert capped_recall(0.0, 0) == 0.0


def finished(root, name, runs, qrels, splits=("test",), depth=1_000, sparsity=None):
    """Write the recipe, qrels and measures of a finished run; return its folder."""
    folder = root / name
    stages = {system: {"family": "dense"} for system in runs if system != "bm25"} | {"base": {"family": "pretrain"}}
    recipe = {
        "dataset": {"name": name, "splits": {split: {"relevant_from": 1} for split in splits}},
        "evaluation": {"splits": list(splits), "depth": depth},
        "stages": stages,
    }
    write_json(folder / "report" / "recipe.json", recipe)
    for split in splits:
        lines = [(qid, pid, grade) for qid, grades in qrels.items() for pid, grade in grades.items()]
        write_qrels(folder / "prepared" / f"{split}.qrels", lines)
        for system, pids in runs.items():
            measured = measure([("q", pids, [-float(i) for i in range(len(pids))])], qrels)
            entry = {"measures": measured.means()} | ({"sparsity": {"flops": sparsity}} if system != "bm25" else {})
            write_json(folder / "eval" / f"{system}.{split}.json", entry)
            write_per_query(folder / "eval" / f"{system}.{split}.per_query.tsv", measured.per_query)
    return folder


@pytest.fixture
def runs(tmp_path):
    many = {f"r{i}": 1 for i in range(300)}
    a = finished(tmp_path, "a", {"bm25": ["x", "p"], "led": ["p"]}, {"q": {"p": 1}})
    b = finished(tmp_path, "b", {"bm25": ["r0"], "led": [f"r{i}" for i in range(150)]}, {"q": many})
    return [a, b]


def test_a_run_without_the_measures_of_the_summary_is_refused(runs):
    for name in ("bm25", "led"):
        write_json(runs[1] / "eval" / f"{name}.test.json", {"measures": {"MAP": 0.5, "recall@100": 0.5}})
    with pytest.raises(InputError, match=r"bm25\.test\.json: no nDCG@10 in it.*evaluation\.measures"):
        summary(runs)


def test_the_mean_is_over_datasets_and_the_recall_is_capped(runs):
    result = summary(runs)
    led = {name: entry["systems"]["led"] for name, entry in result["datasets"].items()}
    assert led["b"]["recall@100"] == pytest.approx(100 / 300)
    assert led["b"]["recall_cap@100"] == pytest.approx(1.0)
    assert result["means"]["led"]["recall_cap@100"] == pytest.approx(1.0)
    assert result["means"]["led"]["recall@100"] == pytest.approx((1 + 100 / 300) / 2)
    assert result["means"]["bm25"]["recall_cap@100"] == pytest.approx((1 + 1 / 100) / 2)
    assert list(result["means"]) == ["bm25", "led"]
    assert result["means"]["led"]["FLOPS"] is None


def test_a_system_of_one_dataset_has_no_mean(runs, tmp_path):
    c = finished(tmp_path, "c", {"bm25": ["p"]}, {"q": {"p": 1}})
    text = summary_text(summary([*runs, c])).split("\n\n")[0].splitlines()
    assert text[0].split() == ["nDCG@10", "split", "bm25", "led"]
    assert text[4].split() == ["c", "test", "1.000", "–"]
    assert text[5].split()[0] == "mean"
    assert text[5].split()[-1] == "–"


def test_a_split_without_judgements_is_passed_over(runs):
    path = runs[0] / "report" / "recipe.json"
    recipe = json.loads(path.read_text())
    recipe["dataset"]["splits"] = {"new": {"relevant_from": 1, "qrels": "none"}} | recipe["dataset"]["splits"]
    recipe["evaluation"]["splits"] = ["new", "test"]
    write_json(path, recipe)
    assert summary(runs)["datasets"]["a"]["split"] == "test"
    with pytest.raises(InputError, match="no evaluated split 'new' with judgements; there are test"):
        summary(runs, "new")


def test_the_command_prints_tables_and_writes_the_numbers(runs, tmp_path):
    command = [sys.executable, "-m", "led_pipeline.cli", "summary", *map(str, runs), f"--json={tmp_path}/s.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.split("\n\n")[2].splitlines()[2:]] == ["a", "b", "mean"]
    assert json.loads((tmp_path / "s.json").read_text()) == summary(runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: [runs[0] / "eval"], r"eval: expected the results of a finished run"),
        (lambda runs: [runs[0], runs[0]], r"'a' is in the summary already"),
        (lambda runs: (runs[1] / "eval" / "led.test.json").unlink() or runs, r"led\.test\.json: no such file"),
    ],
)
def test_errors_name_missing_files(runs, change, message):
    with pytest.raises(InputError, match=message):
        summary(change(runs))


def test_a_split_that_was_not_evaluated_and_short_rankings_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="no evaluated split 'dev' with judgements; there are test"):
        summary(runs, "dev")
    short = finished(tmp_path, "short", {"bm25": ["p"]}, {"q": {"p": 1}}, depth=50)
    with pytest.raises(InputError, match="rankings end at 50"):
        summary([short])
