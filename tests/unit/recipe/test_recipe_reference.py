"""The reference page and the schema agree with the models and the docstrings of their keys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from configs import FOLDER as CONFIG
from configs import RECIPES, changed
from jsonschema import Draft202012Validator
from pydantic import Field

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import reference
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import Positive, Section
from led_pipeline.recipe.stages import FAMILIES

SCHEMA = CONFIG / "recipe.schema.json"
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "recipe.md"


class Told(Section):
    behind: float = Field(0.5, gt=0)
    """half of it"""
    long: Positive | None = None
    """The first line of a long meaning
    and its second one."""


class Silent(Section):
    documented: int = 1
    """told"""
    silent: int = 2


def test_the_page_in_docs_is_what_led_reference_prints():
    command = [sys.executable, "-m", "led_pipeline.cli", "reference"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert PAGE.read_text(encoding="utf-8") == printed, "led reference > docs/reference/recipe.md"


def test_every_key_is_on_the_page():
    keys = {key for family in FAMILIES.values() for key in family.model_fields} - {"family"}
    keys |= set(Recipe.model_fields)
    rows = {line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")}
    assert keys <= rows


def test_a_row_has_type_bounds_default_meaning_and_the_settings_that_hold_the_key():
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    batch = "| `batch_size` | int ≥ 1 | `16` | Queries (masked_lm: passages) of a batch over all processes; "
    (row,) = (row for row in rows if row.startswith(batch))
    assert row.endswith(" | trainset, train |")
    assert any(row.startswith("| `keep` | `best`, `last` | `best` | ") for row in rows)
    assert any(row.startswith("| `warmup_fraction` | float ≥ 0, ≤ 1 | `0.01` | ") for row in rows)


def test_the_meaning_of_a_key_is_its_docstring():
    text = reference.section_text({Told: ["mine"]})
    assert "| `behind` | float > 0 | `0.5` | half of it |" in text
    assert "| `long` | int ≥ 1 or null | `null` | The first line of a long meaning and its second one. |" in text


def test_error_names_a_key_without_a_docstring():
    with pytest.raises(InputError, match=r"Silent\.silent has no docstring"):
        reference.section_text({Silent: ["mine"]})


def test_the_schema_for_editors_is_what_led_reference_prints():
    assert SCHEMA.read_text(encoding="utf-8") == reference.schema(), (
        "led reference --schema > config/recipe.schema.json"
    )


@pytest.mark.parametrize("name", RECIPES)
def test_editors_accept_every_shipped_recipe_and_mark_a_misspelt_key(name):
    check = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [error.message for error in check.iter_errors(RECIPES[name])] == []
    stage = next(iter(RECIPES[name]["stages"]))
    assert list(check.iter_errors(changed(RECIPES[name], {f"stages.{stage}.poolin": "cls"})))
    assert list(check.iter_errors(RECIPES[name] | {"evaluaton": {}}))
    first = (CONFIG / name).read_text(encoding="utf-8").splitlines()[0]
    assert ((CONFIG / name).parent / first.removeprefix("# yaml-language-server: $schema=")).resolve() == SCHEMA
