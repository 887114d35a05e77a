"""Stages of the family masked_lm in a recipe: their place in the graph, their settings and files, and errors."""

import pytest
from configs import RECIPES, changed

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import arguments, needs, priorities, starts
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import Edge, Files
from led_pipeline.recipe.step_settings import MaskedLmTraining

BOW = {"family": "masked_lm", "init": "pretrain", "passage_length": 64, "batch_size": 32}
CONFIG = changed(
    RECIPES["demo.yaml"],
    {"stages.bow": BOW, "stages.den_warmup.init": "bow", "stages.lex_warmup.init": "bow"},
)


def recipe(**changes) -> Recipe:
    return load_recipe(changed(CONFIG, {f"stages.bow.{key}": value for key, value in changes.items()}))


def faults(**changes) -> str:
    with pytest.raises(InputError) as raised:
        recipe(**changes)
    return str(raised.value)


def test_the_stage_is_between_its_init_and_the_stages_that_start_from_it():
    whole = recipe()
    assert needs.edges(whole, "bow") == [Edge("pretrain", "init"), Edge("pretrain", "tokenizer")]
    order = needs.order(whole)
    assert order.index("pretrain") < order.index("bow") < order.index("den_warmup")
    assert "bow" not in needs.systems(whole) and "bow" not in whole.trained + whole.imported
    assert whole.trainings[0] == "bow" or "bow" in whole.trainings
    assert set(whole.trainings) == {*whole.trained, "bow"}


def test_its_job_comes_before_those_of_the_longest_chain():
    chains = priorities.chains(recipe())
    assert chains["pretrain"] == chains["bow"] + 1 == chains["lex_warmup"] + 2


def test_its_settings_are_those_that_its_command_validates():
    values = recipe(stop_share=0.2).settings("train", "bow")
    settings = MaskedLmTraining.model_validate(values)
    assert (settings.masked, settings.bow_weight, settings.bow_weight_end) == (0.3, 1.0, 0.1)
    assert (settings.stop_share, settings.batch_size, settings.seed, settings.family) == (0.2, 32, 42, "masked_lm")
    assert values.keys() == settings.model_dump(mode="json").keys()
    assert not {"init", "tokenizer", "resources", "checkpoint_min"} & values.keys()


def test_defaults_apply_to_it():
    assert load_recipe(changed(CONFIG, {"defaults.weight_decay": 0.05})).stages["bow"].weight_decay == 0.05


def test_its_command_gets_the_folder_of_its_init_and_adopts_nothing():
    files = Files(recipe(), Layout("r"), {}, {"pretrain": "pretrain"})
    assert arguments.init(files, "bow") == "--init r/models/pretrain"
    assert arguments.init(files, "den_warmup") == "--init r/models/bow"
    assert starts.adoption(recipe(), "den_warmup") is None
    assert files.passage_tokens("bow") == ["r/tokens/pretrain/passages.0.arrow"]


def test_it_can_be_the_tokenizer_of_a_stage_that_starts_from_it():
    whole = load_recipe(changed(CONFIG, {"stages.den_warmup.tokenizer": "bow"}))
    assert whole.tokenizer_of("den_warmup") == "bow"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"init": "pretrian"}, "stages.bow.init: no stage 'pretrian' (did you mean pretrain?)"),
        ({"passage_length": 300}, "stages.bow.passage_length: 300 is more than dataset.max_tokens (256)"),
        ({"passage_length": 200}, "stages.bow: 200 tokens do not fit into the 128 positions"),
        ({"lora": {"rank": 2}}, "stages.bow.lora: a masked_lm stage trains all weights of a model"),
        ({"tokenizer": "org/other"}, "stages.bow.tokenizer: the stage starts from 'pretrain', whose texts are read"),
        ({"masked": 1.0}, "stages.bow.masked: expected a number that is above 0 and below 1, got 1.0"),
        ({"bow_weight": 0, "stop_words": "s.txt"}, "stages.bow.stop_words: without a bag of words (bow_weight: 0)"),
        ({"schedule": "constant", "learning_rate_end": 0.1}, "stages.bow.learning_rate_end: with schedule: constant"),
        ({"warmup_steps": 5, "warmup_fraction": 0.2}, "stages.bow.warmup_steps: the warm-up has its length from here"),
        ({"compile": True}, "stages.bow.compile: layers of a masked_lm stage are not compiled here"),
        ({"split_temperature": 2}, "stages.bow.split_temperature: a masked_lm stage reads the passages alone"),
        ({"negatives": ["bm25"]}, "stages.bow.negatives"),
        (
            {"resources": {"gpu": 3}},
            "stages.bow.batch_size: 32 passages cannot be split evenly over 3 processes",
        ),
    ],
)
def test_error_names_the_key(changes, fault):
    assert fault in faults(**changes)


def test_error_names_a_start_without_a_head():
    late = changed(CONFIG, {"stages.late": BOW | {"init": "led", "tokenizer": "pretrain"}})
    with pytest.raises(InputError, match=r"stages.late.init: 'led' is a dense stage, .* no masked-LM head"):
        load_recipe(late)


def test_it_gives_no_scores_and_no_negatives():
    for changes in ({"stages.led.negatives": ["bow"]}, {"stages.led.teachers.0.stage": "bow"}):
        with pytest.raises(InputError, match="bow"):
            load_recipe(changed(CONFIG, changes))
    with pytest.raises(InputError, match="'bow' gives no scores"):
        load_recipe(changed(CONFIG, {"stages.led.teachers.0.stage": "bow"}))
