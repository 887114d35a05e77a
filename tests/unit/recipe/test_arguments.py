"""Options that rules put on command lines: quoted, and left out if the recipe does not set them."""

import shlex

import pytest
from configs import changed
from test_needs import CONFIG, FILES, RECIPE

from led_pipeline.recipe import arguments
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import Files


@pytest.mark.parametrize("value", ["a b", "it's", "$(touch x)", "{wildcards}", '"é"', ""])
def test_an_option_reaches_the_command_as_it_is(value):
    assert shlex.split(arguments.option("--name", value, 3)) == ["--name", value, "3"]


def test_an_option_without_values_is_left_out():
    assert arguments.option_if("--files", iter("ab")) == "--files a b" and arguments.option_if("--files", []) == ""


def test_settings_are_sorted_so_that_their_order_in_the_config_changes_nothing():
    assert arguments.as_json({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a": {"c": 3, "d": 2}, "b": 1}'


def test_training_queries_have_a_relevant_passage_and_samples_do_not_overlap():
    splits = {"train": {}, "dev": {"sample_of": "train", "limit": 7}, "test": {"limit": 5}}
    recipe = load_recipe(changed(CONFIG, {"dataset.splits": splits, "seed": 3}))
    assert {split: arguments.selection(recipe, split) for split in splits} == {
        "train": "--positive --held-out 7 --seed 3",
        "dev": "--positive --limit 7 --seed 3",
        "test": "--limit 5 --seed 3",
    }


def test_template_and_exclusion_options_appear_only_if_the_recipe_sets_them():
    both = {"dataset.templates": {"passage": "{title} {text}"}, "dataset.exclude_query_id": True}
    recipe = load_recipe(changed(CONFIG, both))
    assert arguments.template(recipe.dataset, "passage") == "--template '{title} {text}' --missing error"
    assert arguments.template(recipe.dataset, "query") == "" and arguments.exclude(RECIPE.dataset) == ""
    assert arguments.exclude(recipe.dataset) == "--drop-same-id"
    assert arguments.hits(recipe, "dev.top50") == "--hits 51" and arguments.hits(RECIPE, "dev.top50") == "--hits 50"


def test_only_sharded_queries_get_a_shard_option():
    assert arguments.query_shard(RECIPE, "bm25", "train.1") == "--shard 1 --shards 2"
    assert arguments.query_shard(RECIPE, "bm25", "dev") == arguments.query_shard(RECIPE, "bm25", "dev.top50") == ""


def test_a_stage_with_jobs_of_its_own_divides_the_queries_by_their_number():
    recipe = load_recipe(changed(CONFIG, {"search": {"train_jobs": 3}}))
    assert arguments.query_shard(recipe, "den", "train.2") == "--shard 2 --shards 3"
    assert arguments.query_shard(recipe, "lex", "train.1") == "--shard 1 --shards 2"


def test_init_options_cover_both_encoders():
    assert arguments.init(FILES, "led") == "--init r/models/den"
    assert arguments.query_init(FILES, "led") == "--query-init r/hub/org--model@v1"
    assert arguments.query_init(FILES, "den") == arguments.query_init(FILES, "ranker") == ""


def test_teachers_are_named_before_their_files():
    assert arguments.score_columns(FILES, "led").startswith("--scores lex r/trainsets/led/scores/lex.0.npy r/")
    assert arguments.teacher_vectors(FILES, "led").split(" --")[1].startswith("teacher-vectors den r/vectors/den/train")
    assert arguments.score_columns(FILES, "lex") == arguments.teacher_vectors(FILES, "lex") == ""


def test_a_validation_has_its_settings_and_an_option_per_file():
    words = shlex.split(arguments.validation(FILES, "lex"))
    assert [word for word in words if word.startswith("--")] == [
        "--validation",
        "--validation-ranking",
        "--validation-queries",
        "--validation-qrels",
        "--validation-ids",
    ]
    assert '"exclude_query_id": false' in words[1] and arguments.validation(FILES, "den") == ""


def test_scores_from_elsewhere_are_a_ranking_or_the_judgements():
    assert arguments.stored_scores(FILES, "cross") == "--ranking r/rankings/cross.train.parquet"
    assert shlex.split(arguments.stored_scores(FILES, "qrels"))[::2] == ["--qrels", "--queries", "--passages"]
    scaled = load_recipe(changed(CONFIG, {"dataset.scores.cross": {"file": "c.jsonl", "scale": 2, "offset": -1}}))
    assert arguments.transform(scaled.dataset.scores["cross"]) == "--scale 2.0 --offset -1.0"


def test_precision_and_sparsity_options_appear_for_the_systems_that_have_them():
    bf16 = load_recipe(changed(CONFIG, {"stages.led.inference_precision": "bf16"}))
    assert arguments.inference_precision(bf16, "led") == "--precision bf16"
    assert arguments.inference_precision(bf16, "den") == ""
    files = Files(bf16, Layout("r"), (), {"base": "base"})
    assert arguments.sparse_vectors(files, "lex", "test").startswith(
        "--query-vectors r/vectors/lex/test.arrow --passage"
    )
    assert arguments.sparse_vectors(files, "led", "test") == ""
