"""Training curves: the average, the panels, and what a log tells besides its losses."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from led_pipeline.report import charts
from led_pipeline.report.curves import MOST_POINTS, averaged, panels, series
from led_pipeline.report.log import read_train_log


def line(step, **more):
    speed = {"seconds_left": 1.0, "queries_per_s": 10.0 + step, "tokens_per_s": 100.0}
    health = {"largest_score": 3.0, "terms_per_query": 20.0 - step, "gradient_norm": 0.5}
    return {"step": step, "loss": 2.0, "contrastive": 1.5, "flops": 0.5, "learning_rate": 1e-3, "seconds": 1.0} | {
        "speed": speed, "health": health, **more,
    }  # fmt: skip


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [*(line(step) for step in range(1, 61)), {"step": 60, "validation": {"MRR@10": 0.3}}]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return read_train_log(path)


@pytest.mark.parametrize(("points", "window"), [(20, 5), (57, 5), (500, 21), (5000, 201)])
def test_the_average_is_over_a_25th_of_the_points_and_at_least_five(points, window):
    values = np.random.default_rng(1).random(points)
    average = averaged(pd.Series(values))
    for i in (0, 3, points // 2, points - 1):
        near = values[max(0, i - window // 2) : i + window // 2 + 1]
        assert average[i] == pytest.approx(near.mean())


def test_a_short_log_is_averaged_too():
    values = [1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0]
    assert np.ptp(averaged(pd.Series(values))[2:-2]) < np.ptp(values) / 2


def test_values_that_are_not_finite_are_left_out_and_long_curves_are_thinned():
    curve = {step: float(step) for step in range(1, 5001)} | {7: math.nan, 9: math.inf}
    frame = series("led", curve, True)
    assert len(frame) == MOST_POINTS and np.isfinite(frame.drop(columns="stage")).all().all()
    assert (frame["step"].iloc[0], frame["step"].iloc[-1]) == (1, 5000), "the ends stay"


def test_a_log_becomes_panels_in_the_order_of_interest(log):
    drawn = panels({"lex": log, "other": log})
    titles = [panel.title for panel in drawn]
    assert titles == [
        "loss", "validation MRR@10", "learning rate", "queries per second", "tokens per second", "norm of the gradient",
        "active terms of a query", "largest score", "contrastive", "flops",
    ]  # fmt: skip
    assert all(set(panel.frame["stage"]) == {"lex", "other"} for panel in drawn), "stages are drawn over one another"
    assert not next(panel for panel in drawn if panel.kind == "validation").smoothed


def test_a_chart_of_curves_is_a_valid_specification_with_a_description(log):
    for panel in panels({"lex": log}):
        spec = charts.curve_chart(panel, {"lex": "#fff"}, {"lex": 60})
        assert spec["description"].startswith(panel.title) and spec["width"] == "container"


@pytest.mark.parametrize("value", [None, "x", True])
def test_a_sign_that_is_no_number_is_an_error(tmp_path, value):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(line(1, learning_rate=value)) + "\n")
    with pytest.raises(Exception, match=r"train\.jsonl:1: learning_rate"):
        read_train_log(path)
