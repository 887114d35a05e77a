"""Numbers that no training can use are faults of the recipe, named before any job starts."""

import pytest
from configs import changed
from test_recipe import SMALL, faults

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.reference import sections


def numbers(schema: dict):
    """Yield the parts of a JSON schema that accept a number."""
    if schema.get("type") in ("integer", "number"):
        yield schema
    for inner in [*schema.get("anyOf", []), *schema.get("prefixItems", []), schema.get("items", {})]:
        if inner:
            yield from numbers(inner)


@pytest.mark.parametrize("section", sections(Recipe), ids=lambda section: section.__name__)
def test_every_number_has_a_lower_and_an_upper_bound(section):
    for name, schema in section.model_json_schema()["properties"].items():
        for number in numbers(schema):
            assert {"minimum", "exclusiveMinimum"} & number.keys(), f"{section.__name__}.{name} has no lower bound"
            assert {"maximum", "exclusiveMaximum"} & number.keys(), f"{section.__name__}.{name} has no upper bound"


SEEDS = "expected a number that is at least 0 and at most 4294967295, got"
RANKER = {"scoring": "true_false", "true_word": "yes", "false_word": "yes"}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", -1, f": {SEEDS} -1"),
        ("seed", 20261128120000, f": {SEEDS} 20261128120000"),
        ("stages.lex.seed", 2**32, f": {SEEDS} 4294967296"),
        ("dataset.docstrings", {"seed": -1}, f".seed: {SEEDS} -1"),
        ("defaults.epochs", 0, ": expected a number that is at least 1 and at most 10000, got 0"),
        ("stages.led.epochs", True, ": input should be a valid integer, unable to parse string as an integer"),
        (
            "stages.led.batch_size",
            2**31,
            ": expected a number that is at least 1 and at most 2147483647, got 2147483648",
        ),
        ("stages.led.batch_size", -4, ": expected a number that is at least 1, got -4"),
        ("stages.led.batch_size", 10**3_000, ": expected a number that is at least 1 and at most 2147483647, got 1000"),
        ("stages.led.learning_rate", 1e9, ": expected a number that is above 0 and at most 1, got 1000000000.0"),
        ("stages.led.learning_rate", float("nan"), ": input should be a finite number, got nan"),
        ("stages.led.clip_norm", float("inf"), ": input should be a finite number, got inf"),
        ("stages.led.warmup_fraction", 1.5, ": expected a number that is at least 0 and at most 1, got 1.5"),
        ("stages.led.temperature", 1e-30, ": expected a number that is at least 0.0001 and at most 10000.0, got 1e-30"),
        ("stages.base.dropout", 1, ": expected a number that is at least 0 and below 1, got 1"),
        ("stages.base.hidden", 2, ": expected a number that is at least 3, got 2"),
        (
            "evaluation",
            {"depth": 10**9},
            ".depth: expected a number that is at least 1 and at most 1000000, got 1000000000",
        ),
        ("dataset.splits.dev", {"limit": 0}, ".limit: expected a number that is at least 1, got 0"),
        ("validation", {"measure": "MRR@99999999999999999999"}, ".measure: expected a measure: "),
        # lengths that leave no room for a text
        ("defaults.query_length", 2, ": expected a number that is at least 3, got 2"),
        ("stages.led.passage_length", 4, ": expected a number that is at least 5, got 4"),
        ("stages.led", {"query_length": 5, "query_prefix": "search for ", "reinterpret": True}, None),
        ("stages.led", {"query_length": 4, "query_prefix": "search for "}, ".query_length: 4 tokens leave no room for"),
        ("stages.led", {"passage_length": 5, "passage_prefix": "a b"}, ".passage_length: 5 tokens leave no room for"),
        ("stages.ranker.passage_length", 513, ": 513 is more than dataset.max_tokens (512)"),
        ("stages.ranker.query_length", 513, ": 513 is more than dataset.max_tokens (512)"),
        # nothing to learn from
        ("stages.den.contrastive_weight", 0, ": with 0 here and no teacher or extra_loss, there is nothing to learn"),
        ("stages.led.contrastive_weight", 0, None),
        ("stages.den.negatives", [{"system": "bm25", "min_score": 2, "max_score": 2}], "[0].max_score: no score is "),
        ("stages.ranker", RANKER, ".false_word: 'yes' is true_word, too, so that every passage would score 0"),
    ],
)
def test_error_names_a_number_that_no_training_can_use(key, value, sentence):
    stage = key.startswith("stages.") and isinstance(value, dict)
    config = changed(SMALL, {f"{key}.{name}": v for name, v in value.items()} if stage else {key: value})
    if sentence is None:
        load_recipe(config)
        return
    sentences = faults(config)
    assert any(line.startswith(f"{key}{sentence}") for line in sentences), sentences
    assert all(len(line) < 400 for line in sentences)
