"""Texts that are longer than the positions of a model from elsewhere are a finding before the run."""

import json
from itertools import product

import pytest
import tiny
import torch
from configs import RECIPES, changed
from transformers import AutoConfig, AutoModel

from led_pipeline.models import limits
from led_pipeline.plan.lengths import lengths
from led_pipeline.plan.shapes import Shape
from led_pipeline.recipe.load import load_recipe

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 99}


def folder(tmp_path, **config):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 40, **config}))
    return str(tmp_path)


def findings(tmp_path, stage, changes):
    recipe = load_recipe(changed(RECIPES["config.yaml"], {f"stages.{stage}.{key}": v for key, v in changes.items()}))
    return [finding for finding in lengths(recipe, tmp_path) if f"stages.{stage}." in finding.text]


def test_a_length_above_the_positions_is_fatal_and_names_the_largest_value(tmp_path):
    changes = {"init": folder(tmp_path), "query_length": 40, "passage_length": 41}
    (finding,) = findings(tmp_path, "den_warmup", changes)
    assert finding.level == "fatal"
    assert finding.text.startswith(
        f"stages.den_warmup.passage_length: 41 tokens do not fit into the 40 positions of '{tmp_path}'"
    )
    assert "at most 40" in finding.text
    assert not findings(tmp_path, "den_warmup", changes | {"passage_length": 40})


TABLES = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "camembert", "gpt2")


@pytest.mark.parametrize("model_type", [*TABLES, *tiny.ROTARY])
def test_the_positions_are_those_that_the_model_has(model_type):
    if model_type in tiny.ROTARY:
        model = tiny.rotary(model_type)
        assert Shape.from_config(model.config.to_dict()).longest_text == limits.positions(model) == 64
        return
    settings = {"max_position_embeddings": 40} | SMALL
    if model_type == "distilbert":
        settings = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 99}
        settings |= {"max_position_embeddings": 40}
    if model_type == "gpt2":
        settings = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 99, "n_positions": 40}
    config = AutoConfig.for_model(model_type, **settings)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert Shape.from_config(config.to_dict()).longest_text == limits.positions(model)


def test_relative_positions_have_no_limit():
    assert Shape.from_config(AutoConfig.for_model("t5").to_dict()).longest_text is None


@pytest.mark.parametrize(("query", "passage"), [*product([8, 20], [20, 21, 32])])
def test_a_ranker_reads_query_and_passage_together(tmp_path, query, passage):
    config = changed(
        RECIPES["config.yaml"],
        {
            "stages.ranker.init": folder(tmp_path),
            "stages.ranker.query_length": query,
            "stages.ranker.passage_length": passage,
        },
    )
    texts = [f.text for f in lengths(load_recipe(config), tmp_path) if "stages.ranker." in f.text]
    assert len(texts) == (query + passage - 1 > 40)
