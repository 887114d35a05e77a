"""The names of measures: what recipes accept, what they say about the rest, and results from before the keys."""

import json

import pytest
from configs import RECIPES, changed

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import arguments
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.measures import MEASURES, cut_off, similar, within

DEMO = RECIPES["demo.yaml"]


def fault(changes):
    with pytest.raises(InputError) as error:
        load_recipe(changed(DEMO | {"validation": {}}, changes))
    return str(error.value)


@pytest.mark.parametrize("key", ["evaluation.measures", "validation.also"])
def test_evaluation_and_validation_have_one_grammar(key):
    names = ["MAP", "MRR", "nDCG", "Rprec", "P@5", "hit@20", "MAP@100", "recall@99", "nDCG@1"]
    recipe = load_recipe(changed(DEMO | {"validation": {}}, {key: names}))
    assert names == (recipe.evaluation.measures if key.startswith("evaluation") else recipe.validation.also)
    for name in names:
        assert load_recipe(changed(DEMO, {"validation": {"measure": name}})).validation.measure == name
    for name in ("recall", "P", "hit", "Rprec@10", "MAP@0", "MAP@01", "MAP@1234567", "nDCG@ 10", "nDCG@-1", "@10", ""):
        assert key in fault({key: [name]}), name


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("NDCG@10", "nDCG@10"),
        ("ndcg_cut_20", "nDCG@20"),
        ("mrr@5", "MRR@5"),
        ("recal@100", "recall@100"),
        ("recall", "recall@10"),
        ("map", "MAP"),
        ("hits@1", "hit@1"),
        ("R-prec", "Rprec"),
    ],
)
def test_a_misspelt_measure_is_answered_with_the_nearest_and_the_list(misspelt, nearest):
    sentence = fault({"evaluation.measures": ["MAP", misspelt]})
    assert f"did you mean {nearest}?" in sentence and f"got '{misspelt}'" in sentence
    assert "MRR, nDCG, MAP, P, recall, hit at a cut-off" in sentence and "MRR, nDCG, MAP, Rprec without one" in sentence
    assert sentence.startswith("recipe: evaluation.measures[1]: ")


def test_something_else_has_no_nearest_measure():
    assert similar("accuracy") is None and "did you mean" not in fault({"validation.measure": "{accuracy}"})


def test_measures_beyond_the_depth_are_a_fault_where_the_recipe_names_them():
    assert "recall@101 needs more passages than evaluation.depth (100)" in fault(
        {"evaluation.measures": ["recall@101"]}
    )
    assert load_recipe(changed(DEMO, {"evaluation.measures": ["recall@100", "MAP"]}))
    assert load_recipe(DEMO).evaluation.measures == list(MEASURES), "left out of the report, as ever"
    assert within(50, ["MAP", "P@50", "P@51"]) == ["MAP", "P@50"]
    assert [cut_off(name) for name in ("nDCG@10", "MAP")] == [10, None]


def test_a_measure_is_named_once_and_there_is_at_least_one():
    assert "P@5 is measured already" in fault({"evaluation.measures": ["P@5", "MAP", "P@5"]})
    assert "nDCG@10 is measured already" in fault({"validation": {"measure": "nDCG@10", "also": ["nDCG@10"]}})
    assert "evaluation.measures" in fault({"evaluation.measures": []})


def test_recipes_without_the_keys_keep_the_texts_that_snakemake_compares():
    recipe = load_recipe(changed(DEMO, {"validation": {"queries": 9}, "evaluation.measures": [*MEASURES]}))
    assert arguments.measuring(recipe, "dev") == "--relevant-from 1"
    dumped = recipe.model_dump(mode="json")
    assert "measures" not in dumped["evaluation"] and "also" not in dumped["validation"]
    other = load_recipe(changed(DEMO, {"validation": {"also": ["MAP"]}, "evaluation.measures": ["MAP", "P@5"]}))
    assert arguments.measuring(other, "dev") == "--relevant-from 1 --measures MAP P@5"
    dumped = json.loads(json.dumps(other.model_dump(mode="json")))
    assert load_recipe(dumped).evaluation.measures == ["MAP", "P@5"] and dumped["validation"]["also"] == ["MAP"]
