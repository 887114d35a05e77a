"""Variants of dense stages in a recipe: faults, rows of the tables, jobs, and what their search gets."""

import copy
import json
import shlex

import pytest
from configs import RECIPES, changed, without_extras

from led_pipeline.files.errors import InputError
from led_pipeline.plan.jobs import count_jobs
from led_pipeline.recipe import arguments, needs
from led_pipeline.recipe.load import load_recipe

DEMO = without_extras(RECIPES["demo.yaml"])
VARIANTS = {
    "led_64": {"of": "led", "dimensions": 64},
    "led_int8": {"of": "led", "precision": "int8"},
    "led_binary": {"of": "led", "dimensions": 64, "precision": "binary", "rescore": 4},
}


def test_variants_are_rows_after_the_stages_and_can_be_compared():
    recipe = load_recipe(DEMO | {"variants": VARIANTS, "evaluation": DEMO["evaluation"] | {
        "compare": [["led_64", "led"]], "side_by_side": ["led_binary", "bm25"]}})  # fmt: skip
    assert needs.systems(recipe)[-4:] == ["led", *VARIANTS]
    jobs, before = count_jobs(recipe), count_jobs(load_recipe(DEMO))
    assert jobs - before == {"variant_search": 3, "run_file": 3, "measure": 3}, "nothing is trained or encoded"
    assert "variants" not in load_recipe(DEMO).model_dump(mode="json"), "the resolved recipe stays"


def test_a_search_gets_how_vectors_become_smaller_and_whether_they_have_length_1():
    recipe = load_recipe(DEMO | {"variants": VARIANTS})
    option, settings = shlex.split(arguments.variant(recipe, "led_binary"))
    assert option == "--settings" and json.loads(settings) == {
        "of": "led", "dimensions": 64, "precision": "binary", "rescore": 4, "normalize": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ({"of": "lex_warmup", "dimensions": 64}, "of: 'lex_warmup' is no dense stage; there are den_warmup"),
        ({"of": "lde", "dimensions": 64}, r"of: 'lde' is no stage \(did you mean led\?\)"),
        ({"of": "led", "dimensions": 128}, "dimensions: 128 is not less than the 128 dimensions of 'led'"),
        ({"of": "led"}, "these are the vectors of 'led'; say dimensions, or precision"),
        ({"of": "led", "dimensions": 64, "rescore": 4}, "rescore: float16 vectors need no second look"),
        ({"of": "led", "precision": "int4"}, "precision: 'int4' is not one of float16, int8, binary"),
    ],
)
def test_a_fault_of_a_variant_names_its_key(variant, sentence):
    with pytest.raises(InputError, match=rf"variants\.small\.?:? ?.*{sentence}"):
        load_recipe(DEMO | {"variants": {"small": variant}})


@pytest.mark.parametrize("name", ["bm25", "led", "LED", "qrels"])
def test_a_variant_needs_a_name_of_its_own(name):
    with pytest.raises(InputError, match=rf"variants\.{name}: the name .* is taken by another system"):
        load_recipe(DEMO | {"variants": {name: VARIANTS["led_64"]}})
    with pytest.raises(InputError, match="did you mean led_64"):
        load_recipe(changed(DEMO | {"variants": VARIANTS}, {"evaluation.side_by_side": ["led_46", "led"]}))


FUSED = {"hybrid": ["bm25", "led"], "mixed": ["hybrid", "elsewhere"]}


def test_the_searches_of_every_system_are_timed_but_not_those_of_other_programs():
    assert needs.timed(load_recipe(DEMO)) == [], "timed_queries: 0"
    fusion = {name: {"method": "rrf", "systems": systems} for name, systems in FUSED.items()}
    judge = {"family": "ranker", "init": "pretrain", "negatives": ["bm25"], "rerank": {"system": "hybrid"}}
    stages = DEMO["stages"] | {"judge": judge}
    config = copy.deepcopy(DEMO) | {"variants": VARIANTS, "fusion": fusion, "stages": stages}
    config["dataset"] = DEMO["dataset"] | {"runs": {"elsewhere": {"dev": "elsewhere.trec"}}}
    del config["evaluation"]["timed_queries"]
    recipe = load_recipe(config)
    assert set(needs.timed(recipe)) == set(needs.systems(recipe)) - {"elsewhere", "mixed"}
    times = {"query_time": 4 + len(VARIANTS), "impact_query_time": 2, "bm25_query_time": 1}
    assert (times | {"fusion_query_time": 1, "ranker_query_time": 1}).items() <= count_jobs(recipe).items()
    settings = json.loads(shlex.split(arguments.variant(recipe, "led"))[1])
    assert settings == {"of": "led", "dimensions": None, "precision": "float16", "rescore": None, "normalize": True}
