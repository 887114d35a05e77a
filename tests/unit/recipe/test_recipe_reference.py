"""The reference page says what the models and the comments behind the keys say."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import reference
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import Positive, Section
from led_pipeline.recipe.stages import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "recipe-reference.md"


class Commented(Section):
    # The first line of a long meaning
    # and its second one.
    above: int = 3
    behind: float = Field(
        0.5,  # half of it
        gt=0,
    )
    both: Positive | None = None  # none where it is left out


class Silent(Section):
    told: int = 1  # told
    silent: int = 2


def test_the_page_in_docs_is_what_led_reference_prints():
    command = [sys.executable, "-m", "led_pipeline.cli", "reference"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert PAGE.read_text(encoding="utf-8") == printed, "led reference > docs/recipe-reference.md"


def test_every_key_stands_on_the_page():
    keys = {key for family in FAMILIES.values() for key in family.model_fields} - {"family"}
    keys |= set(Recipe.model_fields)
    rows = {line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")}
    assert keys <= rows


def test_a_row_has_type_bounds_default_meaning_and_the_settings_that_hold_the_key():
    rows = PAGE.read_text(encoding="utf-8").splitlines()
    batch = "| `batch_size` | int ≥ 1 | `16` | queries per optimizer step over all processes | dense, lexicon, ranker |"
    assert f"{batch} trainset, train |" in rows
    assert any(row.startswith("| `keep` | `best`, `last` | `best` | ") for row in rows)
    assert any(row.startswith("| `warmup_fraction` | float ≥ 0, ≤ 1 | `0.01` | ") for row in rows)


def test_a_comment_may_stand_above_behind_or_within_a_key():
    assert reference.comments_of(Commented) == {
        "above": "The first line of a long meaning and its second one.",
        "behind": "half of it",
        "both": "none where it is left out",
    }
    text = reference.section_text({Commented: ["mine"]})
    assert "| `both` | int ≥ 1 or null | `null` | none where it is left out |" in text


def test_a_key_without_a_comment_is_named():
    with pytest.raises(InputError, match=r"test_recipe_reference\.py: Silent\.silent has no comment"):
        reference.section_text({Silent: ["mine"]})
