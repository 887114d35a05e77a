"""Runs from elsewhere and fusions as systems of a recipe: their edges, their splits, and errors about them."""

import pytest
from configs import changed

from led_pipeline.files.errors import InputError
from led_pipeline.plan.jobs import Demand, count_jobs, run_files
from led_pipeline.recipe import arguments, needs
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import Files

CONFIG = {
    "dataset": {
        "name": "own",
        "source": "folder",
        "folder": "data",
        "splits": {"train": {}, "dev": {}, "test": {}},
        "shards": 2,
        "runs": {"mono": {"dev": "mono.trec"}, "both": {"train": "both.json.gz", "dev": "/abs/both.json"}},
        "skip": ["empty_text", "run_without_query"],
    },
    "tokenizer": "base",
    "evaluation": {"splits": ["dev", "test"], "depth": 100},
    "mining": {"hits": 50, "depth": 40},
    "stages": {
        "base": {"family": "pretrain"},
        "den": {"family": "dense", "init": "base", "negatives": ["bm25"]},
        "led": {
            "family": "dense",
            "init": "den",
            "negatives": ["hybrid", "both"],
            "teachers": [{"stage": "hybrid", "loss": "kl"}],
        },
        "ranker": {"family": "ranker", "init": "x/y", "train": False, "rerank": {"system": "hybrid", "depth": 20}},
        "on_mono": {"family": "ranker", "init": "x/y", "train": False, "rerank": {"system": "mono", "depth": 20}},
    },
    "fusion": {
        "all": {"method": "weighted", "systems": ["hybrid", "mono", "on_mono"], "weights": [1, 0.5, 2]},
        "hybrid": {"method": "rrf", "systems": ["bm25", "den"], "depth": 50},
    },
}
RECIPE = load_recipe(CONFIG)
FILES = Files(RECIPE, Layout("r"), {"x/y"}, {"base": "base"})


def faults(changes):
    with pytest.raises(InputError) as error:
        load_recipe(changed(CONFIG, changes))
    return [line.removeprefix("recipe: ") for line in str(error.value).splitlines()]


def test_every_system_comes_after_those_that_it_is_made_of():
    assert needs.systems(RECIPE) == ["bm25", "mono", "both", "den", "on_mono", "hybrid", "led", "ranker", "all"]
    assert needs.order(RECIPE) == ["base", "den", "on_mono", "led", "ranker"]
    assert needs.parents(RECIPE, "all") == {"hybrid", "on_mono"}
    assert needs.parents(RECIPE, "led") == {"den", "hybrid", "base"}
    assert [(e.source, e.label) for e in needs.edges(RECIPE, "all")] == [
        ("hybrid", "1 ×"),
        ("mono", "0.5 ×"),
        ("on_mono", "2 ×"),
    ]


def test_what_is_made_of_a_run_ranks_the_splits_that_the_run_has():
    assert [system for system, split in needs.evaluated(RECIPE) if split == "test"] == [
        "bm25",
        "den",
        "hybrid",
        "led",
        "ranker",
    ]
    assert [system for system, split in needs.evaluated(RECIPE) if split == "dev"] == needs.systems(RECIPE)
    assert FILES.evaluations().count("r/eval/all.dev.json") == 1 and "r/eval/all.test.json" not in FILES.evaluations()


def test_a_fusion_of_the_training_queries_is_made_by_shard():
    assert FILES.fused("hybrid", "train.1") == ["r/rankings/bm25.train.1.parquet", "r/rankings/den.train.1.parquet"]
    nested = load_recipe(changed(CONFIG, {"fusion.all": {"method": "rrf", "systems": ["ranker", "both", "hybrid"]}}))
    assert Files(nested, Layout("r"), {}, {"base": "base"}).fused("all", "train.0") == [
        "r/rankings/ranker.train.parquet",
        "r/rankings/both.train.parquet",
        "r/rankings/hybrid.train.0.parquet",
    ]


def test_the_validation_may_re_rank_a_fusion_or_a_run_to_its_own_depth():
    recipe = load_recipe(
        changed(CONFIG, {"validation": {"system": "hybrid", "depth": 7}, "stages.den.validation": False})
    )
    assert needs.validation_ranking(recipe, "led") == ("hybrid", "dev.top7")
    assert Files(recipe, Layout("r"), {}, {}).fused("hybrid", "dev.top7") == [
        "r/rankings/bm25.dev.top7.parquet",
        "r/rankings/den.dev.top7.parquet",
    ]
    demand = Demand.of(recipe)
    assert demand.validation == {("hybrid", "dev"), ("bm25", "dev"), ("den", "dev")}
    recipe = load_recipe(changed(CONFIG, {"validation": {"system": "mono"}}))
    assert needs.validation_ranking(recipe, "den") == ("mono", "dev.top1000")


def test_files_of_runs_are_in_the_folder_of_the_dataset_or_where_the_recipe_says():
    assert FILES.run_file("mono", "dev.top7") == "data/mono.trec" and FILES.run_file("both", "dev") == "/abs/both.json"
    elsewhere = load_recipe(changed(CONFIG, {"dataset.source": "download"}))
    assert Files(elsewhere, Layout("r"), {}, {}).run_file("mono", "dev") == "mono.trec"
    assert run_files(RECIPE) == ["/abs/both.json", "data/both.json.gz", "data/mono.trec"]


def test_defects_of_runs_do_not_reach_the_preparation_of_texts():
    assert arguments.skip(RECIPE.dataset) == "--skip empty_text"
    assert arguments.skip(RECIPE.dataset, runs=True) == "--skip run_without_query"


def test_the_plan_counts_what_fusions_and_runs_need():
    jobs, demand = count_jobs(RECIPE), Demand.of(RECIPE)
    assert demand.joined == {"hybrid", "both", "bm25", "den"}  # pools of three, and the parts of the teacher
    assert jobs["store_run"] == 2 + 1  # of dev, and the pool of `both`
    assert jobs["fuse"] == 2 + 2 + 1  # hybrid on dev, test and two shards, and all on dev
    assert jobs["score_with_fusion"] == 2 and jobs["join_ranking"] == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fusion.den": CONFIG["fusion"]["hybrid"]}, "fusion.den: this name is taken by a system of the recipe"),
        ({"dataset.runs.den": {"dev": "x"}}, "dataset.runs.den: this name is taken by a system of the recipe"),
        ({"dataset.scores": {"mono": "x.tsv"}}, "dataset.runs.mono: this name is taken by a system of the recipe"),
        ({"fusion.Hybrid": CONFIG["fusion"]["hybrid"]}, "fusion.Hybrid: differs from fusion.hybrid in capital letters"),
        ({"fusion.hybrid.systems": ["bm25", "dem"]}, "fusion.hybrid.systems[1]: no system 'dem' (did you mean den?)"),
        ({"fusion.hybrid.systems": ["bm25", "base"]}, "fusion.hybrid.systems[1]: no system 'base'"),
        ({"fusion.hybrid.systems": ["den", "den"]}, "fusion.hybrid.systems[1]: 'den' is in the list already"),
        ({"fusion.hybrid.systems": ["den"]}, "fusion.hybrid.systems: list should have at least 2 items"),
        ({"fusion.hybrid.weights": [1]}, "fusion.hybrid.weights: 1 weights for the 2 systems under 'systems'"),
        (
            {"fusion.hybrid.method": "rff"},
            "fusion.hybrid.method: 'rff' is not one of rrf, weighted (did you mean rrf?)",
        ),
        ({"fusion.hybrid.normalise": "min_max"}, "fusion.hybrid.normalise: rrf looks at ranks alone; remove this key"),
        ({"fusion.all.k": 60}, "fusion.all.k: a weighted sum is of scores, not of ranks; remove this key"),
        ({"fusion.hybrid.depth": 101}, "fusion.hybrid.depth: 101 is more than evaluation.depth (100), which is all"),
        ({"mining.hits": 40}, "fusion.hybrid.depth: 50 is more than mining.hits (40), which is all that is ranked"),
        ({"fusion.hybrid.systems": ["bm25", "all"]}, "fusion: all needs hybrid needs all: a fusion cannot need itself"),
        ({"fusion.hybrid.systems": ["bm25", "led"]}, "stages: led needs hybrid needs led: a stage cannot need itself"),
        ({"dataset.runs.mono": {}}, "dataset.runs.mono: no file is named; expected a mapping of splits to files"),
        ({"dataset.runs.mono": {"dve": "x"}}, "dataset.runs.mono: no split 'dve' (did you mean dev?)"),
        (
            {"stages.led.negatives": ["mono"]},
            "stages.led.negatives[0]: the run 'mono' has no file for the split 'train'; name one as dataset",
        ),
        (
            {"stages.den.negatives": ["bm25"], "stages.led.negatives": ["all"]},
            "stages.led.negatives[0]: the run 'mono', which 'all' is made of, has no file for the split 'train'",
        ),
        (
            {"stages.led.teachers": [{"stage": "both", "loss": "kl"}]},
            "stages.led.teachers[0].stage: the run 'both' has scores of the passages that it ranks alone",
        ),
        (
            {"stages.led.teachers": [{"stage": "hybrid", "loss": "kl", "candidates": "batch"}]},
            "stages.led.teachers[0].stage: 'hybrid' has no vectors to score all passages of a batch with; name its "
            "systems under 'stages'",
        ),
        (
            {"validation": {"system": "mono", "split": "test"}},
            "validation.system: the run 'mono' has no file for the split 'test'",
        ),
        (
            {"evaluation": {"splits": ["test"], "compare": [["led", "mono"]]}},
            "evaluation.compare[0]: no judged split (test) is ranked by both led and mono",
        ),
        (
            {"evaluation": {"splits": ["test", "dev"], "side_by_side": ["led", "on_mono"]}},
            "evaluation.side_by_side: the run 'mono', which 'on_mono' is made of, has no file for the split 'test'",
        ),
    ],
)
def test_error_names_the_key_of_a_fusion_or_a_run(changes, sentence):
    assert any(fault.startswith(sentence) for fault in faults(changes)), faults(changes)
