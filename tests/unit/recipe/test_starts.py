"""Stages that start from stages: what must not differ, and what they take from the folder at the start of the chain."""

from pathlib import Path

import pytest
from configs import RECIPES, changed

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import arguments, start_checks, starts
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import Files
from led_pipeline.recipe.starts import Description, Value

TRAINED = {"train": True, "negatives": ["bm25"]}
DATASET = {"name": "own", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}}


def recipe_of(stages, **keys):
    return {"dataset": DATASET, "tokenizer": "some/words", "stages": stages} | keys


def two(family="dense", first=None, second=None, **keys):
    """Return a recipe of a stage `one` that starts from the hub, and `two` that starts from it."""
    one = {"family": family, "init": "some/model", **TRAINED, **(first or {})}
    return recipe_of({"one": one, "two": {"family": family, "init": "one", **TRAINED, **(second or {})}}, **keys)


def faults(config):
    with pytest.raises(InputError) as error:
        load_recipe(config)
    return str(error.value).removeprefix("recipe: ").splitlines()


@pytest.mark.parametrize(
    ("family", "first", "second", "sentence"),
    [
        ("dense", {"pooling": "mean"}, {}, "pooling: the stage starts from 'one', which has mean, but it has cls"
         " itself; write pooling: mean; or set reinterpret: true to use it that way on purpose"),
        ("dense", {"encoder_decoder": "first_decoder_token"}, {}, "encoder_decoder: the stage starts from 'one', which"
         " has first_decoder_token, but it has encoder itself; write encoder_decoder: first_decoder_token; or set"
         " reinterpret: true to use it that way on purpose"),
        ("dense", {"normalize": True}, {"normalize": False}, "normalize: the stage starts from 'one', which has true,"
         " but it has false itself; write normalize: true"),
        ("dense", {"head": 64}, {}, "head: the stage starts from 'one', which has 64, but it has null itself; write"
         " head: 64"),
        ("dense", {"query_prefix": "q: "}, {}, "query_prefix: the stage starts from 'one', which has 'q: ', but it has"
         " '' itself; write query_prefix: \"q: \""),
        ("dense", {"untied": True}, {}, "untied: the stage starts from 'one', which has true, but it has false itself"),
        ("lexicon", {"keep_special_tokens": True}, {}, "keep_special_tokens: the stage starts from 'one', which has"
         " true, but it has false itself"),
        ("lexicon", {"activation": "log1p_twice"}, {}, "activation: the stage starts from 'one', which has log1p"),
        ("lexicon", {"query_encoder": "idf", "idf": "collection", "flops_queries": 0}, {}, "query_encoder: the stage"
         " starts from 'one', which has idf, but it has model itself"),
        ("ranker", {"scoring": "true_false"}, {}, "scoring: the stage starts from 'one', which has true_false, but it"
         " has classifier itself; write scoring: true_false"),
    ],
)  # fmt: skip
def test_a_stage_that_differs_from_the_stage_it_starts_from_is_a_fault(family, first, second, sentence):
    assert faults(two(family, first, second))[0].startswith(f"stages.two.{sentence}")
    load_recipe(two(family, first, second | {"reinterpret": True}))
    load_recipe(two(family, first, first | second if not second else first))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"query_length": 16}, {"query_length": 20}),
        ({"temperature": 0.05}, {"temperature": 1.0}),
        ({}, {"untied": True}),
        ({"query_prefix": "q:"}, {"query_prefix": "q: "}),
        ({"pooling": "mean"}, {"family": "ranker"}),
    ],
)
def test_lengths_additions_and_other_families_are_no_contradiction(first, second):
    load_recipe(two("dense", first, second))


def test_another_tokenizer_than_that_of_the_start_is_a_fault_in_every_family():
    sentence = (
        "stages.two.tokenizer: the stage starts from 'one', whose texts are read with the tokenizer 'some/words', but"
        " its own are read with 'other/words'; write tokenizer: \"some/words\"; or set reinterpret: true to use it that"
        " way on purpose"
    )
    assert faults(two(second={"tokenizer": "other/words"})) == [sentence]
    assert faults(two(second={"tokenizer": "other/words", "family": "ranker"})) == [sentence]
    load_recipe(two(second={"tokenizer": "one"}))
    load_recipe(two(second={"tokenizer": "other/words", "reinterpret": True}))


def test_results_of_a_recipe_that_would_be_refused_today_can_be_read():
    load_recipe(two(first={"pooling": "mean"}), trained=lambda dataset: ["one", "two"])


def test_the_second_encoder_must_agree_too():
    stages = two(first={"pooling": "mean"})["stages"]
    untied = {"family": "dense", "init": "some/model", "query_init": "one", "untied": True, **TRAINED}
    (fault,) = faults(recipe_of({"one": stages["one"], "three": untied}))
    assert fault.startswith("stages.three.pooling: the stage starts from 'one', which has mean")


def test_the_t5_of_openmatch_needs_its_key_in_both_rounds():
    t5 = {"stages.first_round.encoder_decoder": "first_decoder_token"}
    (fault,) = faults(changed(RECIPES["recipes/openmatch.yaml"], t5))
    assert fault.startswith("stages.second_round.encoder_decoder: the stage starts from 'first_round'")
    both = ("stages.first_round", "stages.second_round")
    keys = {"tokenizer": "t5-base", "encoder_decoder": "first_decoder_token"}
    documented = {f"{stage}.{key}": value for stage in both for key, value in keys.items()}
    load_recipe(changed(RECIPES["recipes/openmatch.yaml"], documented | {"stages.first_round.init": "t5-base"}))


# --- what a folder decides, along a chain of stages


def described(**values):
    entries = {key: Value(value, f"{key} {value}") for key, value in values.items()}
    return Description(Path("models/x"), "sentence-transformers", "dense", "modules.json", entries)


def test_keys_that_no_stage_sets_come_from_the_folder_at_the_start_of_the_chain():
    recipe = load_recipe(two(first={"normalize": False}, second={"normalize": False, "passage_length": 40}))
    whole = starts.resolved(recipe, {"some/model": described(pooling="mean", query_length=900, normalize=True)})
    assert [stage.pooling for stage in whole.stages.values()] == ["mean", "mean"]
    assert [stage.query_length for stage in whole.stages.values()] == [512, 512], "what the token store has"
    assert [stage.passage_length for stage in whole.stages.values()] == [128, 40]
    assert not whole.stages["one"].normalize


def test_a_stage_is_compared_with_what_its_parent_takes_from_the_hub_once_that_is_there():
    recipe = load_recipe(two(second={"pooling": "cls"}))  # not before the hub was asked
    mean = {"some/model": described(pooling="mean")}
    (fault,) = start_checks.faults(recipe, mean)
    assert fault.startswith("stages.two.pooling: the stage starts from 'one', which has mean, but it has cls itself")
    assert list(start_checks.faults(load_recipe(two(second={"pooling": "mean"})), mean)) == []
    (fault,) = start_checks.faults(load_recipe(two(second={"pooling": "mean"})), {"some/model": None})
    assert fault.startswith("stages.two.pooling: the stage starts from 'one', which has cls, but it has mean itself")


def test_a_stage_after_another_family_or_a_pretrained_one_takes_nothing():
    recipe = load_recipe(RECIPES["demo.yaml"])
    assert [starts.adoptable(recipe, name) for name in recipe.stages] == [[]] * len(recipe.stages)
    recipe = load_recipe(two(second={"family": "ranker"}))
    assert "pooling" in starts.adoptable(recipe, "one") and starts.adoptable(recipe, "two") == []
    assert starts.adoptable(load_recipe(two(first={"reinterpret": True})), "one") == []


def test_a_job_is_told_which_keys_the_recipe_leaves_to_the_folder():
    recipe = load_recipe(two(first={"pooling": "mean", "query_length": 9}, second={"pooling": "mean"}))
    files = Files(recipe, Layout.of("own"), ["some/model"], {"some/words": "some_words"})
    option = arguments.init(files, "one")
    assert option.startswith("--init results/own/hub/some--model --adopt ") and '"max_tokens": 512' in option
    assert '"normalize"' in option and '"pooling"' not in option and '"query_length"' not in option
    assert arguments.lengths_of_init(recipe, "one") == ["passage_length"]
    assert arguments.lengths_of_init(recipe, "two") == ["passage_length"]


@pytest.mark.parametrize("name", RECIPES)
def test_no_length_of_our_recipes_comes_from_a_folder(name):
    """Else their finished results would run again: the lengths are part of what Snakemake compares."""
    recipe = load_recipe(RECIPES[name])
    assert not any(arguments.lengths_of_init(recipe, stage) for stage in recipe.stages)
