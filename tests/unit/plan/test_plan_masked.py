"""The plan of a stage of the family masked_lm, by hand."""

from pathlib import Path

import pytest
from configs import RECIPES, changed

from led_pipeline.plan import assumptions
from led_pipeline.plan.compute import Speed
from led_pipeline.plan.gpu_checks import requested_gpus
from led_pipeline.plan.jobs import count_jobs
from led_pipeline.plan.lengths import lengths
from led_pipeline.plan.schedule import Planner
from led_pipeline.plan.stage_models import stage_models
from led_pipeline.plan.table import estimate
from led_pipeline.plan.workload import workload
from led_pipeline.recipe.load import load_recipe

NOWHERE = Path("/nowhere/results")
BOW = {"family": "masked_lm", "init": "pretrain", "passage_length": 64, "batch_size": 32, "epochs": 2}
DEMO = load_recipe(changed(RECIPES["demo.yaml"], {"stages.bow": BOW, "stages.den_warmup.init": "bow"}))
PAPER = {
    "stages.bow": {"family": "masked_lm", "init": "bert-base-uncased", "batch_size": 2_048, "max_steps": 1_000},
    "stages.den_warmup.init": "bow",
    "stages.den_warmup.tokenizer": "bert-base-uncased",
}


def test_its_work_is_that_of_layers_and_of_the_head_at_the_predicted_tokens():
    row = next(row for row in estimate(DEMO, NOWHERE).rows if row.name == "bow")
    steps = -(-12_000 // 32) * 2
    tokens = min(515 / 4.5 + 3, 64)
    predicted = 0.3 * (tokens - 3) + 1
    layer = 4 * 128**2 + 2 * 128 * 512
    flops = steps * 32 * 6 * (tokens * layer + predicted * (128**2 + 128 * 8_192))
    seconds = flops / (2 * assumptions.CPU_GFLOPS * 1e9) + steps * assumptions.STEP_OVERHEAD_S
    assert row.cost.hours["train"] == pytest.approx(seconds / 3600)
    assert row.cost.jobs["masked_lm"] == (pytest.approx(seconds + assumptions.CPU_JOB_START_S), 1)
    assert row.family == "masked_lm" and row.parameters and row.is_known


def test_without_words_the_head_is_computed_less_often():
    plain = load_recipe(changed(RECIPES["demo.yaml"], {"stages.bow": BOW | {"bow_weight": 0}}))
    hours = [
        next(row for row in estimate(each, NOWHERE).rows if row.name == "bow").cost.hours["train"]
        for each in (DEMO, plain)
    ]
    assert hours[1] < hours[0] < 1.1 * hours[1]


def test_its_jobs_are_counted():
    jobs = count_jobs(DEMO)
    assert jobs["masked_lm"] == 1 and jobs["train"] == count_jobs(load_recipe(RECIPES["demo.yaml"]))["train"]


def test_memory_grows_with_the_batch_and_is_split_over_gpus():
    def memory(**changes) -> float:
        bow = PAPER["stages.bow"] | changes
        recipe = load_recipe(changed(RECIPES["config.yaml"], PAPER | {"stages.bow": bow}))
        return next(row for row in estimate(recipe, NOWHERE, "NVIDIA H200").rows if row.name == "bow").gpu_memory

    one, eight, cached = memory(resources={"gpu": 1}), memory(resources={"gpu": 8}), memory(gradient_cache=16)
    assert one > 4 * eight and cached < 0.3 * eight and eight > 10e9


def test_gpus_lengths_and_wall_times_count_it():
    recipe = load_recipe(changed(RECIPES["config.yaml"], PAPER | {"stages.bow.resources": {"gpu": 8}}))
    assert requested_gpus(recipe, None)["stages.bow.resources.gpu"] == 8
    load, models = workload(recipe, NOWHERE), stage_models(recipe, NOWHERE)
    uniform, best = Planner(recipe, load, models, Speed.by_name("NVIDIA H200"), 64).layouts(8)
    assert "bow" in best.trainings and uniform[0].seconds > uniform[-1].seconds


def test_a_length_that_the_model_cannot_read_is_reported(tmp_path):
    model = tmp_path / "bert"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 100, "hidden_size": 32}')
    bow = BOW | {"init": str(model), "tokenizer": str(model), "passage_length": 120}
    recipe = load_recipe(changed(RECIPES["demo.yaml"], {"stages.bow": bow}))
    (finding,) = lengths(recipe, tmp_path)
    assert "stages.bow.passage_length: 120 tokens do not fit into the 100 positions" in finding.text
