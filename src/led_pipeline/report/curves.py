"""Training curves as small SVG charts, one per loss term and per validation measure of a stage."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from led_pipeline.report.log import Curve, TrainLog

_WIDTH, _HEIGHT = 214, 138
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 26, 22
_MOST_POINTS = 600
_TITLE = 24  # characters beside the final value; the whole title shows under the pointer

Point = tuple[float, float]


def charts(log: TrainLog) -> list[Markup]:
    """Return the charts of a stage: the loss, its terms where there are several, and the validation."""
    terms = dict(list(log.terms.items())[:1]) if len(log.terms) == 2 else log.terms  # one term alone is the loss itself
    last = max((step for curve in [*log.terms.values(), *log.validation.values()] for step in curve), default=0)
    best = (log.finished or {}).get("best_step")
    drawn = [chart(name, curve, last, smooth=True) for name, curve in terms.items()]
    return drawn + [chart(f"validation {name}", curve, last, marked=best) for name, curve in log.validation.items()]


def chart(title: str, curve: Curve, last: int, smooth: bool = False, marked: int | None = None) -> Markup:
    """Return one chart over steps 0 to `last`: the points joined, or `smooth`, their average over a faint line of them.

    The vertical range is that of the averaged line without its first twentieth, so the steep start of a loss leaves
    the chart; a later value outside is drawn on the edge.
    """
    values = [(float(step), value) for step, value in curve.items() if math.isfinite(value)]
    if not values:
        return Markup("")
    line = averaged(values) if smooth else values
    low, high = _range([value for _, value in line[len(line) // 20 if smooth else 0 :]])

    def place(point: Point) -> Point:
        across = point[0] / (last or 1)
        up = (min(max(point[1], low), high) - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_frame(title, line[-1][1], low, high, last)]
    if smooth:
        parts.append(_path(thinned(entered(values, low, high)), place, "raw"))
    parts.append(_path(thinned(entered(line, low, high)), place, "term" if smooth else "validation"))
    if not smooth:
        parts += [_dot(step, value, place, step == marked) for step, value in values]
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def averaged(values: Sequence[Point]) -> list[Point]:
    """Return the moving average over about a thirtieth of the points, half of it before and half after each."""
    half = len(values) // 60
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [(values[i][0], math.fsum(v for _, v in window) / len(window)) for i, window in enumerate(windows)]


def entered(values: Sequence[Point], low: float, high: float) -> Sequence[Point]:
    """Return the points from the last one before they first enter the range."""
    first = next((i for i, (_, value) in enumerate(values) if low <= value <= high), len(values) - 1)
    return values[max(0, first - 1) :]


def thinned(values: Sequence[Point]) -> Sequence[Point]:
    """Return at most some hundred points, evenly taken, the last one among them."""
    stride = math.ceil(len(values) / _MOST_POINTS)
    return values if stride <= 1 else [*values[:-1:stride], values[-1]]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _path(values: Sequence[Point], place: Callable[[Point], Point], style: str) -> str:
    points = " ".join("{:.1f},{:.1f}".format(*place(value)) for value in values)
    return f'<polyline class="{style}" points="{points}"/>'


def _dot(step: float, value: float, place: Callable[[Point], Point], best: bool) -> str:
    x, y = place((step, value))
    style, radius, remark = ("best", 4.0, ", kept") if best else ("point", 2.3, "")
    title = f"<title>step {step:,.0f}: {value:.4f}{remark}</title>"
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'


def _frame(title: str, final: float, low: float, high: float, last: float) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>' for y in (_TOP, (_TOP + base) / 2, base)
    )
    labels = [
        (4, 14, "title", "start", title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"),
        (right, 14, "final", "end", short(final)),
        (_LEFT - 5, _TOP + 4, "tick", "end", short(high)),
        (_LEFT - 5, base + 4, "tick", "end", short(low)),
        (_LEFT, _HEIGHT - 7, "tick", "start", "0"),
        (right, _HEIGHT - 7, "tick", "end", f"step {last:,.0f}"),
    ]
    return lines + "".join(
        f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
        for x, y, style, anchor, text in labels
    )


def short(value: float) -> str:
    """Return a number in about four characters' worth of digits."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000 or size < 0.001:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3f}"
    )
