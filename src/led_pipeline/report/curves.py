"""Training curves as tables: one row per stage, series and logged step, with a moving average."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from led_pipeline.report.log import Curve, TrainLog

SHARE, LEAST = 25, 5  # the average is over this part of the logged points, and at least over this many
MOST_POINTS = 300  # of a series in the page

TITLES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "queries_per_s": "queries per second",
    "passages_per_s": "passages per second",
    "tokens_per_s": "tokens per second",
    "share_of_peak": "share of the GPUs’ peak",
    "gradient_norm": "norm of the gradient",
    "terms_per_query": "active terms of a query",
    "terms_per_passage": "active terms of a passage",
    "empty_queries": "queries without a term",
    "empty_passages": "passages without a term",
    "largest_score": "largest score",
    "score_spread": "best minus worst score of a query’s candidates",
}


@dataclass(frozen=True)
class Panel:
    """Curves of the same kind, of all stages that have them."""

    title: str
    frame: pd.DataFrame  # stage, step, value, smooth
    smoothed: bool
    kind: str  # loss, term, validation or sign


def averaged(values: pd.Series) -> pd.Series:
    """Return the centred moving average over a 25th of the points, at least 5 of them; shorter at both ends."""
    window = max(LEAST, len(values) // SHARE) | 1  # odd, so that as many points are before as after
    return values.rolling(window, center=True, min_periods=1).mean()


def series(stage: str, curve: Curve, smooth: bool) -> pd.DataFrame:
    """Return a curve as rows, without values that are not finite, evenly thinned after the averaging."""
    frame = pd.DataFrame({"stage": stage, "step": list(curve), "value": list(curve.values())})
    frame = frame[np.isfinite(frame["value"])]
    frame["smooth"] = averaged(frame["value"]) if smooth else frame["value"]
    if len(frame) > MOST_POINTS:
        frame = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, MOST_POINTS).round().astype(int))]
    return frame


def panel(title: str, kind: str, curves: Mapping[str, Curve], smooth: bool) -> Panel | None:
    """Return the curves of some stages; None where there is no finite value."""
    frames = [frame for stage, curve in curves.items() if len(frame := series(stage, curve, smooth))]
    return Panel(title, pd.concat(frames, ignore_index=True), smooth, kind) if frames else None


def panels(logs: Mapping[str, TrainLog]) -> list[Panel]:
    """Return the panels of all stages: loss, validation, learning rate and speed first, then terms and signs."""
    parts = {
        "loss": ({name: {"loss": log.terms["loss"]} for name, log in logs.items() if "loss" in log.terms}, True),
        "validation": ({name: log.validation for name, log in logs.items()}, False),
        "sign": ({name: log.signs for name, log in logs.items()}, True),
        "term": ({name: terms(log) for name, log in logs.items()}, True),
    }
    drawn = []
    for kind, (by_stage, smooth) in parts.items():
        names = dict.fromkeys(name for curves in by_stage.values() for name in curves)
        if kind == "sign":
            names = {name: None for name in TITLES if name in names} | names
        for name in names:
            smooth_this = smooth and name != "learning_rate"
            title = f"validation {name}" if kind == "validation" else TITLES.get(name, name)
            drawn.append(panel(title, kind, {s: c[name] for s, c in by_stage.items() if name in c}, smooth_this))
    return [each for each in drawn if each]


def terms(log: TrainLog) -> dict[str, Curve]:
    """Return the terms of a loss; none where there is one alone, which is the loss itself."""
    names = [name for name in log.terms if name != "loss"]
    return {name: log.terms[name] for name in names} if len(names) > 1 else {}
