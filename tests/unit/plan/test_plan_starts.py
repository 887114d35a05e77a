"""The preflight compares a recipe with the models of a hub before any job, and estimates what jobs will take over."""

import json
import shutil
from pathlib import Path

import pytest
from configs import RECIPES, changed, without_extras

from led_pipeline.fetch import hub
from led_pipeline.plan import preflight, starts, table
from led_pipeline.plan.site import Site
from led_pipeline.plan.starts import look_at_starts
from led_pipeline.plan.workload import workload
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report import data

STAGE = {"family": "dense", "init": "org/e5", "train": False, "tokenizer": "org/e5"}


@pytest.fixture
def e5(tmp_path, monkeypatch):
    """Return the folder in the hub's cache with what org/e5 says about itself."""
    folder = tmp_path / "cache"
    (folder / "1_Pooling").mkdir(parents=True)
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 90}')
    monkeypatch.setattr(hub, "described", lambda model: folder if model.name == "org/e5" else None)
    return folder


def recipe_of(**keys):
    config = {name: value for name, value in without_extras(RECIPES["demo.yaml"]).items() if name != "defaults"}
    return load_recipe(changed(config, {"stages": {"mine": STAGE | keys}, "evaluation": {"splits": ["dev"]}}))


def test_what_a_hub_model_says_is_taken_over_in_the_estimate(e5, tmp_path):
    starts_here = look_at_starts(recipe_of(passage_length=40), tmp_path)
    stage = starts_here.recipe.stages["mine"]
    assert (stage.pooling, stage.query_length, stage.passage_length) == ("mean", 90, 40) and not starts_here.faults


def test_wall_times_are_those_of_the_keys_that_are_taken_over(e5, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "findings", lambda *_: [])
    read = []
    monkeypatch.setattr(table, "workload", lambda *arguments: read.append(1) or workload(*arguments))
    site = Site(tmp_path, tmp_path, tmp_path, elsewhere=True, limit=None)

    def walls(**keys) -> str:
        training = {"train": True, "negatives": ["bm25"], "epochs": 10_000, "resources": {"gpu": 1}}
        return preflight.wall_times(preflight.look(recipe_of(**training | keys), site), site, [1])

    adopted, written = walls(), walls(pooling="mean", query_length=90, passage_length=90)
    assert "wall time by GPUs per training" in adopted and adopted == written != walls(passage_length=40)
    assert len(read) == 3, "the data are looked at once for estimate and wall times"


def test_a_contradiction_is_a_fatal_finding_with_key_and_values(e5, tmp_path):
    (finding,) = look_at_starts(recipe_of(pooling="cls"), tmp_path).findings()
    assert (finding.level, finding.text) == (
        "fatal",
        f"stages.mine.pooling: '{e5}' is a sentence-transformers model with mean pooling (modules.json), but the recipe"
        " has cls; write pooling: mean; or set reinterpret: true to use it that way on purpose",
    )
    assert not look_at_starts(recipe_of(pooling="cls", reinterpret=True), tmp_path).faults


def test_a_folder_that_was_fetched_counts_and_broken_files_name_the_key(e5, tmp_path):
    fetched = Path(shutil.copytree(e5, tmp_path / "results" / "hub" / "org--e5"))
    (fetched / "hub.json").write_text("{}")
    (fetched / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}')
    assert look_at_starts(recipe_of(), tmp_path / "results").recipe.stages["mine"].pooling == "last"
    (fetched / "modules.json").write_text("{}")
    (fault,) = look_at_starts(recipe_of(), tmp_path / "results").faults
    assert fault.startswith("stages.mine.init, stages.mine.tokenizer: ") and "modules.json: expected a list" in fault


def test_a_hub_that_is_out_of_reach_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(starts.hub, "described", lambda model: None)
    recipe = recipe_of(pooling="cls")
    starts_here = look_at_starts(recipe, tmp_path)
    assert starts_here.recipe == recipe and not starts_here.faults


def test_what_a_stage_took_over_is_in_the_report(tmp_path):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "led.json").write_text('{"pooling": "mean", "query_length": 90, "normalize": true}')
    settings = data.settings(recipe_of(normalize=False), tmp_path)["mine"]
    assert (settings["pooling"], settings["query_length"], settings["passage_length"]) == ("mean", 90, 128)
    assert settings["normalize"] is False, "what the recipe sets is as the recipe says"
