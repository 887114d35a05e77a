"""Edges of the graph by name, the files that jobs wait for, and the plan's sums against a walk along the edges."""

import pytest
from configs import RECIPES, changed

from led_pipeline.plan.jobs import Demand
from led_pipeline.recipe import needs
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import Edge, Files

CONFIG = {
    "dataset": {
        "name": "x",
        "source": "download",
        "splits": {"train": {}, "dev": {}, "test": {}},
        "shards": 2,
        "negatives": {"published": "n.tsv"},
        "scores": {"cross": "c.jsonl", "unused": "u.jsonl"},
    },
    "tokenizer": "base",
    "validation": {"split": "dev", "depth": 50},
    "evaluation": {"splits": ["test"]},
    "stages": {
        "base": {"family": "pretrain"},
        "lex": {"family": "lexicon", "init": "base", "negatives": ["bm25", "published", "bm25"]},
        "den": {"family": "dense", "init": "base", "negatives": ["lex"], "validation": False},
        "led": {
            "family": "dense",
            "init": "den",
            "untied": True,
            "query_init": "org/model@v1",
            "negatives": ["den"],
            "only_scored": True,
            "more_positives": {"scores": "cross", "min_score": 1},
            "teachers": [
                {"stage": "lex", "loss": "rank", "weight": 2},
                {"stage": "cross", "loss": "kl"},
                {"stage": "qrels", "loss": "kl", "candidates": "batch"},
                {"stages": ["lex", "den"], "loss": "kl", "candidates": "batch"},
            ],
        },
        "ranker": {"family": "ranker", "init": "./folder", "train": False, "rerank": {"system": "den", "depth": 9}},
    },
}
RECIPE = load_recipe(CONFIG)
FILES = Files(RECIPE, Layout("r"), {"org/model@v1"}, {"base": "base"})


def other(**changes):
    """Return the files of a recipe with some keys changed, dots written as two underscores."""
    recipe = load_recipe(changed(CONFIG, {key.replace("__", "."): value for key, value in changes.items()}))
    return Files(recipe, Layout("r"), {"org/model@v1"}, {"base": "base"})


BY_RANKER = other(validation={"system": "ranker", "depth": 9}, stages__lex__validation=False).recipe


# --- edges


def test_every_kind_of_edge_appears_once():
    assert needs.edges(RECIPE, "base") == []
    assert needs.edges(RECIPE, "lex") == [
        Edge("base", "init"),
        Edge("base", "tokenizer"),
        Edge("bm25", "negatives"),
        Edge("published", "negatives"),
        Edge("bm25", "validation"),
    ]
    edges = [(edge.source, edge.kind, edge.label) for edge in needs.edges(RECIPE, "led")]
    assert edges == [
        ("den", "init", ""),
        ("org/model@v1", "query_init", ""),
        ("base", "tokenizer", ""),
        ("den", "negatives", ""),
        ("cross", "positives", ""),
        ("lex", "teacher", "rank × 2"),
        ("cross", "teacher", "kl × 1"),
        ("qrels", "teacher", "kl × 1"),
        ("lex", "teacher", "kl × 1"),
        ("den", "teacher", "kl × 1"),
        ("bm25", "validation", ""),
    ]
    assert needs.edges(RECIPE, "ranker")[-1] == Edge("den", "candidates", "first 9")


def test_parents_are_the_stages_among_the_sources():
    assert {name: needs.parents(RECIPE, name) for name in RECIPE.stages} == {
        "base": set(),
        "lex": {"base"},
        "den": {"base", "lex"},
        "led": {"base", "lex", "den"},
        "ranker": {"base", "den"},
    }


def test_the_sources_of_some_kinds_come_in_order_and_once():
    assert needs.sources(RECIPE, ["lex", "den", "led"], "negatives") == ["bm25", "published", "lex", "den"]
    assert needs.sources(RECIPE, ["led"], "positives", "teacher") == ["cross", "lex", "qrels", "den"]


def test_teachers_score_the_trainset_or_the_batch_and_grades_are_always_stored():
    assert needs.teachers(RECIPE, "led", in_batch=False) == ["lex", "cross", "qrels"]
    assert needs.teachers(RECIPE, "led", in_batch=True) == ["lex", "den"]


# --- parts of rankings


def test_training_queries_are_searched_by_shard_and_the_validation_by_itself():
    assert needs.parts(RECIPE) == ["train.0", "train.1", "dev", "test", "dev.top50"]
    assert needs.query_parts(other(dataset__shards=1).recipe, "train") == ["train"]
    assert [needs.split_of(part) for part in ("train.1", "dev.top50", "dev")] == ["train", "dev", "dev"]
    assert [needs.shard_of(part) for part in ("train.1", "dev.top50", "dev")] == ["1", None, None]


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_dense_stages_may_rank_the_training_queries_in_another_number_of_jobs(shards, jobs):
    both = {"method": "rrf", "systems": ["bm25", "den"]}
    files = other(dataset__shards=shards, search={"train_jobs": jobs}, fusion={"both": both})
    by_shard, by_job = ([f"train.{i}" for i in range(n)] if n > 1 else ["train"] for n in (shards, jobs))
    assert needs.query_parts(files.recipe, "train", "den") == by_job
    for name in ("bm25", "lex", "both"):  # lexicon stages only if they are searched on GPUs
        assert needs.query_parts(files.recipe, "train", name) == by_shard
    assert set(needs.parts(files.recipe)) == {*by_shard, *by_job, "dev", "test", "dev.top50"}
    assert needs.query_parts(files.recipe, "dev", "den") == ["dev"]
    for part in by_shard:
        of_den = part if shards == jobs else "train"
        assert files.fused("both", part) == [f"r/rankings/{p}.parquet" for p in (f"bm25.{part}", f"den.{of_den}")]


def test_each_reader_of_a_ranking_gets_its_depth():
    depths = changed(CONFIG, {"mining": {"hits": 400}, "evaluation.depth": 70})
    recipe = load_recipe(depths)
    assert [needs.depth_of(recipe, part) for part in ("train.0", "train", "test", "dev", "dev.top50")] == [
        400, 400, 70, 70, 50,
    ]  # fmt: skip


def test_a_training_re_ranks_a_ranking_of_its_own_depth_or_a_rankers_whole_one():
    assert needs.validation_ranking(RECIPE, "lex") == ("bm25", "dev.top50")
    assert needs.validation_ranking(RECIPE, "den") is None
    assert needs.validation_ranking(BY_RANKER, "led") == ("ranker", "dev")
    assert needs.validation_ranking(other(validation={"system": "qrels"}).recipe, "lex") is None
    assert needs.validation_ranking(other(validation=None).recipe, "lex") is None


# --- files


def test_a_name_is_a_stage_a_model_of_the_hub_or_a_path():
    assert [FILES.model(name) for name in ("den", "org/model@v1", "./folder")] == [
        "r/models/den",
        "r/hub/org--model@v1",
        "./folder",
    ]
    assert [FILES.model_inputs(name) for name in ("den", "./folder", None)] == [["r/models/den"], [], []]


def test_rules_wait_for_dataset_files_unless_they_are_the_users():
    assert FILES.source_inputs("n.tsv") == ["r/source/n.tsv"] and FILES.source_inputs(None) == []
    users = other(dataset__source="folder", dataset__folder="./my data/")
    assert users.source("n.tsv") == "./my data/n.tsv" and users.source_inputs("n.tsv") == []


def test_a_stage_is_drawn_from_pools_and_stored_scores():
    assert FILES.pools("lex") == ["r/pools/bm25.parquet", "r/pools/published.parquet", "r/pools/bm25.parquet"]
    assert FILES.only_scored("led") == FILES.more_positives("led") == ["r/rankings/cross.train.parquet"]
    assert FILES.only_scored("lex") == FILES.more_positives("lex") == []


def test_a_training_waits_for_columns_of_scores_and_for_vectors():
    assert FILES.score_columns("led") == {
        name: [f"r/trainsets/led/scores/{name}.{shard}.npy" for shard in (0, 1)] for name in ("lex", "cross", "qrels")
    }
    assert FILES.batch_vectors("led") == {
        "lex": [f"r/vectors/lex/{part}.arrow" for part in ("train", "passages.0", "passages.1")],
        "den": [f"r/vectors/den/{part}.npy" for part in ("train", "passages.0", "passages.1")],
    }
    assert FILES.score_columns("lex") == FILES.batch_vectors("lex") == {}


def test_stored_scores_are_a_ranking_or_the_judgements():
    assert FILES.stored_scores("cross") == ["r/rankings/cross.train.parquet"] and FILES.judged("cross") == {}
    assert FILES.stored_scores("qrels") == []
    assert FILES.judged("qrels") == {
        "--qrels": "r/prepared/train.qrels",
        "--queries": "r/prepared/train.queries.parquet",
        "--passages": "r/prepared/passages.parquet",
    }


def test_a_validation_waits_for_candidates_unless_they_are_the_judged_ones():
    rest = {
        "validation_queries": "r/tokens/base/dev.arrow",
        "validation_qrels": "r/prepared/dev.qrels",
        "validation_ids": ["r/prepared/dev.queries.parquet", "r/prepared/passages.parquet"],
    }
    assert FILES.validation("lex") == {"validation_ranking": "r/rankings/bm25.dev.top50.parquet"} | rest
    assert FILES.validation("den") == {}
    assert other(validation={"system": "qrels"}).validation("lex") == rest


def test_lexicon_stages_alone_have_sparse_vectors():
    assert FILES.sparse_vectors("lex", "test") == {
        "query_vectors": "r/vectors/lex/test.arrow",
        "passage_vectors": ["r/vectors/lex/passages.0.arrow", "r/vectors/lex/passages.1.arrow"],
    }
    assert FILES.sparse_vectors("den", "test") == FILES.sparse_vectors("bm25", "test") == {}


def test_a_table_of_query_weights_may_be_counted_in_the_collection():
    counted = other(stages__lex__query_encoder="idf", stages__lex__idf="collection", stages__lex__flops_queries=0)
    assert counted.idf_passages("lex") == ["r/tokens/base/passages.0.arrow", "r/tokens/base/passages.1.arrow"]
    assert FILES.idf_passages("lex") == FILES.idf_passages("den") == []


def test_other_steps_find_the_paths_of_rankings():
    assert FILES.candidates("ranker", "dev") == "r/rankings/den.dev.parquet"
    assert FILES.train_ranking_parts("den") == ["r/rankings/den.train.0.parquet", "r/rankings/den.train.1.parquet"]
    assert FILES.evaluations() == [
        f"r/eval/{system}.test.json" for system in ("bm25", "lex", "den", "led", "ranker")
    ]  # fmt: skip


# --- the plan's sums


def test_the_plan_adds_up_the_same_edges():
    demand = Demand.of(RECIPE)
    assert (demand.mined, demand.published, demand.stored) == (["bm25", "lex", "den"], ["published"], ["cross"])
    assert (demand.stored_pools, demand.graded, demand.splits) == ([], False, ["train", "dev", "test"])
    assert demand.validation == {("bm25", "dev")}
    assert demand.rankings == {(s, "test") for s in ("bm25", "lex", "den", "led", "ranker")} | {
        ("bm25", "train"),
        ("lex", "train"),
        ("den", "train"),
    }
    assert demand.vectors == ["lex", "den", "led"]
    assert demand.query_vectors == {(s, "test") for s in ("lex", "den", "led")} | {("lex", "train"), ("den", "train")}


def test_a_ranker_re_ranks_a_ranking_of_the_same_split():
    demand = Demand.of(BY_RANKER)
    assert {("ranker", "dev"), ("den", "dev")} <= demand.rankings and not demand.validation


@pytest.mark.parametrize("name", RECIPES)
def test_stages_come_after_their_parents(name):
    recipe = load_recipe(RECIPES[name])
    order = needs.order(recipe)
    assert sorted(order) == sorted(recipe.stages)
    assert all(order.index(parent) < order.index(stage) for stage in order for parent in needs.parents(recipe, stage))
