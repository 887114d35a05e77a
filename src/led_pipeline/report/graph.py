"""The recipe as a picture: its stages as boxes and what each takes from others as lines, in SVG."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup, escape

from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.report.layers import Drawing, Item, lay_out

# kind of edge: what it says in the legend, colour, dash pattern
KINDS = {
    "init": ("starts from its weights", "#334155", "none"),
    "negatives": ("trains on its hard negatives", "#c2570c", "7 4"),
    "teacher": ("learns from its scores", "#6d28d9", "2 3"),
    "candidates": ("re-ranks its results", "#64748b", "10 3 2 3"),
    "fused": ("is made of its ranking", "#0f766e", "4 3"),
}
COLOURS: dict[str | None, tuple[str, str]] = {  # output of a stage: fill, border
    "dense": ("#e8f1fd", "#2563a8"),
    "sparse": ("#e6f5ec", "#24804f"),
    "scores": ("#f3ecfc", "#6d28d9"),
    None: ("#f5f1e6", "#8a6d1d"),
    "system": ("#f1f3f5", "#64748b"),
}

# Lengths in SVG user units, which are pixels at full size.
_HEIGHT, _LEAST_WIDTH, _GAP, _BETWEEN, _MARGIN = 66, 200.0, 26, 86, 14
_LANE, _PORT, _APART = 13, 13.0, 6  # a line between boxes; lines that meet at a box; lines that share a lane
_NAME, _CAPTION = 7.6, 6.0  # widths of a character

Point = tuple[float, float]


@dataclass(frozen=True)
class Link:
    """What `target` takes from `source`."""

    source: str
    target: str
    kind: str
    label: str = ""


def links(recipe: Recipe) -> list[Link]:
    """Return what every stage and fusion takes from others; weights from a hub or a folder are no link."""
    edges = [(edge, name) for name in needs.ordered(recipe) for edge in needs.edges(recipe, name)]
    return [
        Link(edge.source, name, edge.kind, edge.label)
        for edge, name in edges
        if edge.kind in KINDS and (edge.kind != "init" or edge.source in recipe.stages)
    ]


def nodes(recipe: Recipe, drawn: list[Link]) -> list[str]:
    """Return the boxes of the picture: BM25, other systems that are no stage, and the stages and fusions in order."""
    ordered = needs.ordered(recipe)
    others = [link.source for link in drawn if link.source not in ordered]
    return list(dict.fromkeys(["bm25", *recipe.dataset.runs, *others, *ordered]))


def draw(recipe: Recipe, scores: dict[str, str]) -> Markup:
    """Return the picture; `scores` is a line of text for those boxes that have one."""
    drawn = links(recipe)
    names = nodes(recipe, drawn)
    width = max([_LEAST_WIDTH, *(min(len(name), 30) * _NAME + 28 for name in names)])
    pairs = list(dict.fromkeys((link.source, link.target) for link in drawn))
    drawing = lay_out(names, pairs, dict.fromkeys(names, float(_HEIGHT)), _GAP, _LANE)
    columns = max(drawing.layer.values()) + 1
    across = columns * width + (columns - 1) * _BETWEEN + 2 * _MARGIN
    down = max(y + (_HEIGHT if isinstance(item, str) else _LANE) / 2 for item, y in drawing.y.items()) + 2 * _MARGIN
    lines = "".join(_line(link, points) for link, points in _routed(drawn, drawing, width).items())
    boxes = "".join(_box(recipe, name, _corner(drawing, name, width), width, scores.get(name, "")) for name in names)
    size = f'viewBox="0 0 {across:.0f} {down:.0f}" width="{across:.0f}" height="{down:.0f}"'
    opening = f'<svg class="graph" role="img" aria-label="The stages of the recipe" {size}>'
    return Markup(f"{opening}{_arrowheads()}{lines}{boxes}</svg>")


def _left(drawing: Drawing, item: Item, width: float) -> float:
    return _MARGIN + drawing.layer_of(item) * (width + _BETWEEN)


def _corner(drawing: Drawing, name: str, width: float) -> Point:
    return _left(drawing, name, width), drawing.y[name] - _HEIGHT / 2 + _MARGIN


def _routed(drawn: list[Link], drawing: Drawing, width: float) -> dict[Link, list[Point]]:
    """Return the points of every link: a port of its own at both boxes, and both ends of the lanes between them."""
    route = {link: drawing.routes[link.source, link.target] for link in drawn}
    order = sorted(drawn, key=lambda link: list(KINDS).index(link.kind))
    leaving = _placed(sorted(order, key=lambda link: drawing.y[route[link][1]]), lambda link: link.source)
    arriving = _placed(sorted(order, key=lambda link: drawing.y[route[link][-2]]), lambda link: link.target)
    beside = _placed(order, lambda link: (link.source, link.target))
    points = {}
    for link in drawn:
        start = (_left(drawing, link.source, width) + width, drawing.y[link.source] + leaving[link] * _PORT + _MARGIN)
        end = (_left(drawing, link.target, width) - 3, drawing.y[link.target] + arriving[link] * _PORT + _MARGIN)
        lanes = [
            (_left(drawing, item, width) + side, drawing.y[item] + beside[link] * _APART + _MARGIN)
            for item in route[link][1:-1]
            for side in (0.0, width)
        ]
        points[link] = [start, *lanes, end]
    return points


def _placed(ordered: list[Link], key: Callable[[Link], Any]) -> dict[Link, float]:
    """Return the place of each link among those of the same key, counted from their middle, within a box's height."""
    groups: dict[Any, list[Link]] = defaultdict(list)
    for link in ordered:
        groups[key(link)].append(link)
    places: dict[Link, float] = {}
    for group in groups.values():
        middle = (len(group) - 1) / 2
        squeeze = min(1.0, (_HEIGHT - 14) / _PORT / max(1, len(group) - 1))
        places.update((link, (i - middle) * squeeze) for i, link in enumerate(group))
    return places


def _line(link: Link, points: list[Point]) -> str:
    says, colour, dashes = KINDS[link.kind]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        path += f" C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    title = f"{link.target} {says}: {link.source}{f' ({link.label})' if link.label else ''}"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.7" stroke-dasharray="{dashes}"'
        f' marker-end="url(#arrow-{link.kind})"><title>{escape(title)}</title></path>'
    )


def _arrowheads() -> str:
    heads = "".join(
        f'<marker id="arrow-{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for kind, (_, colour, _) in KINDS.items()
    )
    return f"<defs>{heads}</defs>"


def _captions(recipe: Recipe, name: str) -> tuple[str | None, str]:
    """Return the output of a box, which decides its colour, and the line below its name."""
    if fusion := recipe.fusion.get(name):
        method = f"rrf, k {fusion.rank_offset}" if fusion.method == "rrf" else f"weighted, {fusion.normalisation}"
        return "system", f"{method}, of {len(fusion.systems)} systems"
    if name not in recipe.stages:
        kinds = {"bm25": "term matching", QRELS: "grades"} | dict.fromkeys(recipe.dataset.scores, "score file")
        kinds |= dict.fromkeys(recipe.dataset.runs, "run from elsewhere")
        return "system", kinds.get(name, "published negatives")
    stage = recipe.stages[name]
    if stage.family == "pretrain":
        return stage.output, "made from the collection"
    if stage.init in recipe.stages:
        return stage.output, stage.family if stage.train else f"{stage.family}, not trained"
    return stage.output, f"{stage.family} · {stage.init.rstrip('/').split('/')[-1]}"


def _box(recipe: Recipe, name: str, corner: Point, width: float, score: str) -> str:
    output, caption = _captions(recipe, name)
    fill, border = COLOURS[output]
    x, y = corner
    short_caption = shortened(caption, int((width - 24) / _CAPTION))
    rows = [(shortened(name, 30), 20, "name"), (short_caption, 38, "caption"), (score, 55, "score")]
    texts = "".join(
        f'<text class="{style}" x="{x + 12:.1f}" y="{y + down:.1f}">{escape(text)}</text>' for text, down, style in rows
    )
    return (
        f'<g><title>{escape(f"{name}: {caption}")}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
        f' height="{_HEIGHT}" rx="7" fill="{fill}" stroke="{border}" stroke-width="1.3"/>{texts}</g>'
    )


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, the last one an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def legend(recipe: Recipe) -> Markup:
    """Return the meaning of the lines that the picture has, as HTML."""
    used = {link.kind for link in links(recipe)}
    key = Markup(
        '<span class="key"><svg width="38" height="10" aria-hidden="true"><line x1="1" y1="5" x2="37" y2="5"'
        ' stroke="{}" stroke-width="2" stroke-dasharray="{}"/></svg> {}</span>'
    )
    return Markup("").join(
        key.format(colour, dashes, says) for kind, (says, colour, dashes) in KINDS.items() if kind in used
    )
