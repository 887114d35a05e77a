"""What commands say about a folder that has no finished results."""

import json

import pytest
from configs import RECIPES

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.recorded import is_run, recorded_recipe, runs_in


@pytest.fixture
def demo(tmp_path):
    file = tmp_path / "results" / "demo" / "report" / "recipe.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(RECIPES["demo.yaml"]))
    return tmp_path / "results" / "demo"


def test_the_recipe_of_a_finished_run(demo):
    assert is_run(demo) and runs_in(demo.parent) == [demo]
    assert list(recorded_recipe(demo).stages) == list(RECIPES["demo.yaml"]["stages"])


@pytest.mark.parametrize("content", ["[1]", "{}", "7", '{"stages": 3}'])
def test_a_recipe_that_is_none_is_a_fault_of_that_file_or_key(demo, content):
    (demo / "report" / "recipe.json").write_text(content)
    with pytest.raises(InputError):
        recorded_recipe(demo)


def test_other_folders_are_named_with_the_results_nearby(demo, tmp_path):
    with pytest.raises(InputError, match=r"dem: no such folder \(did you mean demo\?\), .*; there is .*results/demo$"):
        recorded_recipe(demo.with_name("dem"))
    with pytest.raises(InputError, match=r"results: expected the results of a run, .*; there is .*results/demo$"):
        recorded_recipe(demo.parent)
    assert not is_run(tmp_path / "nowhere") and runs_in(tmp_path / "nowhere") == []


def test_an_unfinished_run_is_told_how_to_write_its_recipe(demo):
    (demo / "report" / "recipe.json").unlink()
    passages = demo / "prepared" / "passages.parquet"
    passages.parent.mkdir()
    passages.touch()
    assert Layout(demo).passages == str(passages)
    with pytest.raises(InputError, match=r"not finished; write it with `snakemake .*demo/report/recipe\.json"):
        recorded_recipe(demo)
