"""What the report says about a stage of the family masked_lm."""

import json

import pytest
from configs import RECIPES, changed

from led_pipeline.recipe.load import load_recipe
from led_pipeline.report import graph, rows
from led_pipeline.report.curves import panels
from led_pipeline.report.log import read_train_log
from led_pipeline.watch.run_file import job_of

BOW = {"family": "masked_lm", "init": "pretrain", "passage_length": 64, "batch_size": 32, "learning_rate": 3e-4}
RECIPE = load_recipe(changed(RECIPES["demo.yaml"], {"stages.bow": BOW, "stages.den_warmup.init": "bow"}))


def test_the_picture_has_its_box_between_its_start_and_the_stages_that_start_from_it():
    drawing = graph.draw(RECIPE)
    boxes = {box.name: box for box in drawing.boxes}
    assert (boxes["bow"].output, boxes["bow"].caption) == ("none", "masked_lm")
    assert boxes["pretrain"].x < boxes["bow"].x < boxes["den_warmup"].x
    assert {str(link) for link in drawing.lines} >= {
        "bow starts from its weights: pretrain",
        "den_warmup starts from its weights: bow",
    }


def test_the_table_of_stages_has_its_start_and_its_batches():
    (row,) = (row for row in rows.stage_rows(RECIPE, {"training": {}}) if row["name"] == "bow")
    assert row["trained"] and (row["init"], row["tokenizer"]) == ("pretrain", "pretrain")
    assert row["schedule"] == ["32 passages", "lr 0.0003"] and "negatives" not in row and "teachers" not in row


def test_its_curves_have_both_terms_and_its_speed(tmp_path):
    speed = {"passages_per_s": 9.0, "tokens_per_s": 90.0}
    lines = [{"step": i, "loss": 3.0, "mlm": 2.0, "bow": 1.0, "speed": speed} for i in (1, 2, 3)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    titles = [panel.title for panel in panels({"bow": read_train_log(tmp_path / "train.jsonl")})]
    assert {"loss", "mlm", "bow", "passages per second", "tokens per second"} <= set(titles)


@pytest.mark.parametrize(("gpu", "nodes"), [(0, 1), (2, 1), (4, 2)])
def test_the_view_of_a_run_shows_its_gpus_and_threads(gpu, nodes):
    resources = {"gpu": gpu, "nodes": nodes, "threads": 3}
    recipe = load_recipe(changed(RECIPES["demo.yaml"], {"stages.bow": BOW | {"resources": resources}}))
    job = job_of(recipe, "masked_lm", {"stage": "bow"}, ("results/demo/models/bow", "log"), 1, [])
    assert (job.stage, job.owner, job.threads, job.gpus) == ("bow", "bow", 3, gpu * nodes)
