"""The report's comparisons: which stage it is about, its control, intervals, and corrected p-values."""

import numpy as np
import pytest
from scipy import stats

from led_pipeline.evaluation.significance import bootstrap, holm
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report import answers
from led_pipeline.report.comparisons import Answer, answer, compare_all, intervals, main_measure

STAGES = {
    "den": {"family": "dense", "init": "some/encoder", "negatives": ["bm25"]},
    "led": {"family": "dense", "init": "den", "negatives": ["den"]},
    "ranker": {"family": "ranker", "init": "some/cross-encoder", "train": False},
}


def recipe(compare=(), **changes):
    dataset = {"name": "x", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}}
    evaluation = {"compare": list(compare), "measures": ["MRR@10", "recall@100"]}
    return load_recipe({"dataset": dataset, "stages": STAGES, "evaluation": evaluation} | changes)


def table(values, recall=None):
    recalls = values if recall is None else recall
    return {
        f"q{i}": {"MRR@10": float(v), "recall@100": float(r)}
        for i, (v, r) in enumerate(zip(values, recalls, strict=True))
    }


def test_the_answer_is_about_the_last_dense_stage_and_its_control():
    measured = {"bm25", "den", "led", "ranker"}
    assert answer(recipe(), measured) == Answer("led", "den"), "the stage that it starts from"
    assert answer(recipe([["den", "bm25"], ["led", "ranker"]]), measured) == Answer("led", "ranker"), (
        "as the recipe compares"
    )
    assert answer(recipe(), {"bm25", "led"}) == Answer("led", "bm25")
    assert answer(recipe(), {"bm25", "ranker"}) == Answer("ranker", "bm25"), "no dense stage was measured"
    assert answer(recipe(), {"led"}) == Answer("led", None)
    assert answer(recipe(), {"bm25"}) is None


def test_intervals_agree_with_scipy():
    random = np.random.default_rng(3)
    values = np.stack([random.random(400) ** 3, random.integers(0, 2, 400)], axis=1)
    for column, (low, high) in zip(values.T, bootstrap(values, seed=1), strict=True):
        reference = stats.bootstrap(
            (column,), np.mean, method="percentile", n_resamples=10_000, rng=5
        ).confidence_interval
        assert (low, high) == pytest.approx(reference, abs=0.003)


def test_the_interval_of_a_system_holds_its_mean():
    values = np.random.default_rng(4).random(300)
    means, _ = intervals(recipe(), {"led": table(values), "bm25": table(values[:9])})
    low, high = means["led"]["MRR@10"]
    reference = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=5).confidence_interval
    assert (low, high) == pytest.approx(reference, abs=0.003)
    assert intervals(recipe(), {}) == ({}, [])


def test_p_values_are_corrected_by_hand():
    # 4 tests: 0.01 * 4, then 0.02 * 3 = 0.06, then 0.03 * 2 = 0.06, then 0.5.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def small_run(seed=0):
    random = np.random.default_rng(seed)
    base = random.random(200)
    better = base + np.abs(random.normal(0.1, 0.02, 200))
    return {"dev": {"bm25": table(base), "den": table(base + random.normal(0, 0.2, 200)), "led": table(better, base)}}


def test_the_answer_and_the_table_are_corrected_apart():
    result = compare_all(recipe([["led", "den"], ["den", "bm25"]]), small_run())
    requested, first = result.tests, result.first
    assert [(test["a"], test["b"], test["measure"]) for test in requested] == [
        (a, b, measure) for a, b in (("led", "den"), ("den", "bm25")) for measure in ("MRR@10", "recall@100")
    ]
    assert [test["p_holm"] for test in requested] == holm([test["p_randomisation"] for test in requested])
    assert (first["final"], first["control"]) == ("led", "den")
    assert [(test["b"], test["measure"]) for test in first["tests"]] == [("den", "MRR@10"), ("bm25", "MRR@10")]
    assert [test["p_holm"] for test in first["tests"]] == holm([test["p_randomisation"] for test in first["tests"]])
    for test in [*requested, *first["tests"]]:
        assert test["interval"][0] <= test["difference"] <= test["interval"][1]
    assert compare_all(recipe([["led", "den"], ["den", "bm25"]]), small_run()) == result, "seeded"
    differences = np.array(
        [
            row["MRR@10"] - other["MRR@10"]
            for row, other in zip(*(small_run()["dev"][n].values() for n in ("led", "den")), strict=True)
        ]
    )
    reference = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, rng=5)
    assert first["tests"][0]["interval"] == pytest.approx(reference.confidence_interval, abs=0.003)


def test_the_answer_in_words():
    first = compare_all(recipe(), small_run()).first
    assert answers.title(first) == "On dev, led is better than den and bm25"
    first["tests"][1] |= {"p_holm": 0.05}
    assert answers.title(first) == "On dev, led is better than den, but not shown to differ from bm25"
    first["tests"][0] |= {"difference": -0.1}
    assert [line.verdict for line in answers.lines(first)] == ["worse", "open"]


def test_splits_with_grades_are_summed_up_by_ndcg():
    graded = {
        "name": "x",
        "source": "folder",
        "folder": "x",
        "splits": {"train": {}, "dev": {}, "dl": {"relevant_from": 2}},
    }
    loaded = load_recipe({"dataset": graded, "stages": STAGES})
    assert [main_measure(loaded, split) for split in ("dev", "dl")] == ["MRR@10", "nDCG@10"]
