"""Charts with data of their own: systems, comparisons, costs, the course of the run, and trainings.

They are specifications of Vega-Lite that Altair checks. Texts and lines take their colours from the variables of the
page's style, so that one drawing serves light and dark.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd

from led_pipeline.recipe.graph import Recipe
from led_pipeline.report.curves import Panel

Spec = dict[str, Any]

INK, DIM, LINE = "var(--ink)", "var(--dim)", "var(--line)"
FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif'
CONFIG = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": DIM, "titleColor": DIM, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "titlePadding": 7,
        "labelLimit": 220,
    },
    "legend": {
        "labelColor": INK, "titleColor": DIM, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500,
        "orient": "top", "direction": "horizontal", "symbolStrokeWidth": 3, "symbolOpacity": 1, "labelLimit": 220,
        "columns": 3,
    },
    "text": {"color": INK},
    "rule": {"color": DIM},
}  # fmt: skip

SIGNED = "datum.value === 0 ? '0' : format(datum.value, '+.3~f')"  # labels of an axis of differences
STEPS = ("download", "docstrings", "prepare", "hub", "pretrain", "masked_lm", "import", "tokens", "bm25", "pools",
         "trainsets", "train", "encode", "index", "rankings", "costs", "runs", "eval", "report")  # fmt: skip


def finished(chart: Any, description: str) -> Spec:
    """Return the specification of a chart, with the sentence that a screen reader says instead."""
    spec: Spec = chart.properties(description=description).to_dict()
    spec.pop("$schema", None)
    return spec | {"config": CONFIG}


def system_colour(colours: Mapping[str, str], **legend: Any) -> alt.Color:
    """Return the encoding of systems by colour."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("system:N", scale=scale, legend=alt.Legend(**legend) if legend else None)


def zooming(*encodings: Literal["x", "y"]) -> alt.Parameter:
    """Return a selection that moves and zooms a chart with the mouse; without the shift key, the wheel scrolls."""
    return alt.selection_interval(
        bind="scales",
        encodings=list(encodings) or ["x", "y"],
        zoom="wheel![event.shiftKey]",
        translate='[pointerdown[event.pointerType == "mouse"], window:pointerup] > window:pointermove!',
    )


def systems_chart(frame: pd.DataFrame, measure: str, colours: Mapping[str, str]) -> Spec:
    """Draw the mean of every system with its interval.

    Args:
        frame: columns system, mean, low, high, in the order of the chart.
    """
    order = list(frame["system"])
    tips = ["system:N", *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("mean", "low", "high"))]
    base = alt.Chart(frame).encode(
        y=alt.Y("system:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False))
    )
    scale = alt.Scale(zero=False, nice=True, padding=12)
    lines = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", scale=scale, title=measure), x2="high:Q", color=system_colour(colours), tooltip=tips
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="mean:Q", color=system_colour(colours), tooltip=tips
    )
    chart = alt.layer(lines, dots).properties(width="container", height=24 * len(order))
    best = frame.sort_values("mean").iloc[-1]
    return finished(chart, f"{measure} of {len(frame)} systems with intervals; the highest is {best['system']}")


def differences_chart(frame: pd.DataFrame, colours: Mapping[str, str]) -> Spec:
    """Draw the difference of every compared pair with its interval.

    Args:
        frame: columns pair, system (the first), measure, difference, low, high, p.
    """
    order = list(dict.fromkeys(frame["pair"]))
    numbers = [alt.Tooltip(f"{name}:Q", format="+.4f") for name in ("difference", "low", "high")]
    tips = ["pair:N", "measure:N", *numbers, alt.Tooltip("p:Q", format=".4f", title="p (Holm)")]
    base = alt.Chart(frame).encode(
        y=alt.Y("pair:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False))
    )
    scale = alt.Scale(nice=True, padding=12)
    lines = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", scale=scale, title="difference", axis=alt.Axis(labelExpr=SIGNED, tickCount=6)),
        x2="high:Q",
        color=system_colour(colours),
        tooltip=tips,
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="difference:Q", color=system_colour(colours), tooltip=tips
    )
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(strokeDash=[4, 4], color=DIM).encode(x="x:Q")
    chart = alt.layer(zero, lines, dots).properties(width="container", height=26 * len(order))
    return finished(
        chart, f"differences of {len(order)} pairs of systems with intervals; right of zero the first is better"
    )


def cost_chart(frame: pd.DataFrame, cost: str, quality: str, colours: Mapping[str, str]) -> Spec | None:
    """Draw quality against cost on a logarithmic axis; None for fewer than two systems.

    Args:
        frame: columns system, cost (above 0), quality.
    """
    if len(frame) < 2:
        return None
    palette = {name: colour for name, colour in colours.items() if name in set(frame["system"])}
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=110, opacity=0.95)
        .encode(
            x=alt.X(
                "cost:Q",
                scale=alt.Scale(type="log", nice=False, padding=16),
                title=cost,
                axis=alt.Axis(format=",.3~r", tickCount=5),
            ),
            y=alt.Y("quality:Q", scale=alt.Scale(zero=False, nice=True, padding=10), title=quality),
            color=system_colour(palette, title=None, symbolType="circle"),
            tooltip=[
                "system:N",
                alt.Tooltip("cost:Q", format=",.4~g", title=cost),
                alt.Tooltip("quality:Q", format=".4f", title=quality),
            ],
        )
        .properties(width="container", height=270)
    )
    return finished(chart, f"{quality} of {len(frame)} systems against {cost}")


def course_chart(frame: pd.DataFrame) -> Spec:
    """Draw when each job of the run ran.

    Args:
        frame: of `timeline.frame`.
    """
    last = frame["end"].max()
    unit, seconds = ("h", 3600) if last > 7200 else ("min", 60) if last > 120 else ("s", 1)
    bars = frame.assign(from_=frame["begin"] / seconds, to=frame["end"] / seconds)
    steps = [step for step in STEPS if step in set(bars["step"])]
    steps += [step for step in dict.fromkeys(bars["step"]) if step not in steps]
    order = list(dict.fromkeys(bars.sort_values("begin")["row"]))
    chart = (
        alt.Chart(bars)
        .mark_bar(cornerRadius=2, height=10, minBandSize=2)
        .encode(
            x=alt.X("from_:Q", title=f"{unit} since the first job began"),
            x2="to:Q",
            y=alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelFontSize=11, ticks=False, domain=False)),
            color=alt.Color("step:N", sort=steps, scale=alt.Scale(scheme="tableau20"), legend=None),
            tooltip=[
                "job:N",
                alt.Tooltip("seconds:Q", format=",.1f", title="seconds"),
                alt.Tooltip("from_:Q", format=",.2f", title=f"begin ({unit})"),
                alt.Tooltip("gpus:Q", title="GPUs"),
            ],
        )
        .properties(width="container", height=15 * len(order))
        .add_params(zooming("x"))
    )
    return finished(chart, f"the course of the run: {len(frame)} jobs over time")


def curve_chart(panel: Panel, colours: Mapping[str, str], best: Mapping[str, int | None]) -> Spec:
    """Draw curves of all stages that have them: the logged values faintly, their average strongly.

    Args:
        best: the step that each stage ends with, marked on a validation.
    """
    frame = panel.frame.rename(columns={"stage": "system"})
    stages = list(dict.fromkeys(frame["system"]))
    palette = {name: colours[name] for name in stages}
    chosen = alt.selection_point(fields=["system"], bind="legend")
    faded = alt.condition(chosen, alt.value(1.0), alt.value(0.12))
    colour = system_colour(palette, title=None, symbolType="stroke")
    x = alt.X("step:Q", title="step", axis=alt.Axis(format="~s"), scale=alt.Scale(nice=False))
    y = alt.Y(
        "smooth:Q",
        title=None,
        scale=alt.Scale(zero=False, domain=_range(panel), nice=False),
        axis=alt.Axis(format=",.4~r"),
    )
    tips = [
        "system:N",
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("value:Q", format=".4~g", title="logged"),
        alt.Tooltip("smooth:Q", format=".4~g", title="average"),
    ]
    base = alt.Chart(frame)
    layers: list[Any] = []
    if panel.smoothed:
        faint = alt.condition(chosen, alt.value(0.25), alt.value(0.04))
        layers.append(
            base.mark_line(strokeWidth=1, clip=True).encode(x, y=alt.Y("value:Q"), color=colour, opacity=faint)
        )
    layers.append(
        base.mark_line(strokeWidth=2.2, clip=True, interpolate="monotone").encode(x, y, color=colour, opacity=faded)
    )
    dots = base.mark_point(filled=True, size=36 if panel.kind == "validation" else 60, clip=True)
    hidden = alt.value(1.0 if panel.kind == "validation" else 0.0)
    layers.append(dots.encode(x, y, color=colour, tooltip=tips, opacity=alt.condition(chosen, hidden, alt.value(0.0))))
    if panel.kind == "validation":
        final = frame[frame["step"] == frame["system"].map(dict(best))]
        if len(final):
            layers.append(
                alt.Chart(final)
                .mark_point(size=170, strokeWidth=2, filled=False)
                .encode(x, y, color=colour, tooltip=tips)
            )
    chart = alt.layer(*layers).properties(width="container", height=240).add_params(chosen, zooming())
    return finished(chart, f"{panel.title} over the steps of {', '.join(stages)}")


def _range(panel: Panel) -> list[float]:
    """Return the range of the averages without the first twentieth of each curve, the steep start of a loss."""
    late = panel.frame.groupby("stage")["smooth"].apply(lambda curve: curve.iloc[len(curve) // 20 :])
    low, high = float(late.min()), float(late.max())
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return [max(0.0, low - room) if low >= 0 else low - room, high + room]


def means_frame(entry: Mapping[str, Any], measure: str) -> pd.DataFrame:
    """Return the mean and the interval of every system that was measured on a split."""
    rows = [
        {"system": system, "mean": result["measures"][measure], "low": ends[0], "high": ends[1]}
        for system, result in entry["systems"].items()
        if result and (ends := entry["intervals"].get(system, {}).get(measure))
    ]
    return pd.DataFrame(rows, columns=["system", "mean", "low", "high"])


def pairs_frame(tests: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return tests as rows of the chart of differences."""
    rows = [
        {"pair": f"{t['a']} − {t['b']}", "system": t["a"], "measure": t["measure"], "difference": t["difference"],
         "low": t["interval"][0], "high": t["interval"][1], "p": t["p_holm"]}
        for t in tests
    ]  # fmt: skip
    return pd.DataFrame(rows)


def costs_frame(metrics: Mapping[str, Any], split: str, measure: str, key: str) -> pd.DataFrame:
    """Return the quality on a split and one cost of every system that has both."""
    results = metrics["splits"][split]["systems"]
    rows = [
        {"system": name, "cost": cost, "quality": result["measures"][measure]}
        for name, result in results.items()
        if result and (cost := metrics["costs"][name][key])
    ]
    return pd.DataFrame(rows, columns=["system", "cost", "quality"])


def cost_charts(
    recipe: Recipe, metrics: Mapping[str, Any], split: str, measure: str, colours: Mapping[str, str]
) -> dict[str, Spec]:
    """Return the charts of quality against size, and against the time of a search, by name."""
    titles = {"bytes_per_passage": "bytes per passage", "p50_ms": "median time of a search in ms"}
    quality = f"{measure} on {split}"
    drawn = {
        key: cost_chart(costs_frame(metrics, split, measure, key), title, quality, colours)
        for key, title in titles.items()
    }
    return {key: chart for key, chart in drawn.items() if chart}
