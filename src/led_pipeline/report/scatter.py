"""Quality against cost: one point per system in an SVG chart, the cost on a logarithmic axis."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 30, 34
_LINE, _CHARACTER = 11.0, 5.7  # height and width of a label's text

Place = tuple[float, float]


@dataclass(frozen=True)
class Dot:
    """A system: what it costs, how good it is, and the class of its colour."""

    name: str
    cost: float
    quality: float
    style: str


def scatter(dots: Sequence[Dot], cost: str, quality: str) -> Markup:
    """Return the chart, or nothing for fewer than two systems; costs must be above 0.

    Args:
        cost, quality: the titles of the axes.
    """
    if len(dots) < 2:
        return Markup("")
    low, high = _decades([dot.cost for dot in dots])
    worst, best = min(dot.quality for dot in dots), max(dot.quality for dot in dots)
    room = (best - worst) * 0.08 or 0.01

    def height(value: float) -> float:
        up = (value - worst + room) / (best - worst + 2 * room)
        return _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def place(dot: Dot) -> Place:
        across = (math.log10(dot.cost) - low) / (high - low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), height(dot.quality)

    parts = [_frame(cost, quality, low, high)]
    parts += [_level(value, height(value)) for value in dict.fromkeys((worst, best))]
    labels = _labels(dots, place)
    for dot in dots:
        x, y = place(dot)
        left, top = labels[dot.name]
        tip = f"<title>{escape(dot.name)}: {dot.quality:.3f}, {dot.cost:,.3g}</title>"
        parts.append(f'<g class="{dot.style}"><circle cx="{x:.1f}" cy="{y:.1f}" r="4">{tip}</circle></g>')
        parts.append(f'<text class="label" x="{left:.1f}" y="{top:.1f}">{escape(dot.name)}</text>')
    title = escape(f"{quality} against {cost}")
    return Markup(
        f'<svg class="chart scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="{title}"><title>{title}</title>{"".join(parts)}</svg>'
    )


def _decades(costs: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around some costs."""
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    return low, max(high, low + 1)


def _labels(dots: Sequence[Dot], place: Callable[[Dot], Place]) -> dict[str, Place]:
    """Return where each name begins: right of its point (left of it near the edge), moved down until it is free."""
    # Left, right and baseline of what a label must not cover: the points, then the labels before it.
    boxes = [(x - 5, x + 5, y + 3.5) for x, y in map(place, dots)]
    labels = {}
    for dot in sorted(dots, key=lambda dot: place(dot)[1]):
        x, y = place(dot)
        width = _CHARACTER * len(dot.name)
        left = x + 7 if x + 7 + width < _WIDTH - 4 else x - 7 - width
        near = [base for begin, end, base in boxes if left < end and begin < left + width]
        baseline = y + 3.5
        while any(abs(baseline - base) < _LINE for base in near):
            baseline += 1
        boxes.append((left, left + width, baseline))
        labels[dot.name] = left, baseline
    return labels


def _frame(cost: str, quality: str, low: int, high: int) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<text class="title" x="8" y="17">{escape(quality)}</text>']
    parts.append(f'<text class="title" x="{right}" y="{_HEIGHT - 5}" text-anchor="end">{escape(cost)}</text>')
    for power in range(low, high + 1):
        x = _LEFT + (power - low) / (high - low) * (right - _LEFT)
        tick = f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{base}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 14}" text-anchor="middle">{tick}</text>')
    return "".join(parts)


def _level(value: float, y: float) -> str:
    """Return a line across the chart at a quality, with the value."""
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:.3f}</text>'
