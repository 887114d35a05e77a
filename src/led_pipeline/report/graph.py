"""The recipe as a picture: its stages as boxes and what each learns from as lines, in SVG."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.stages import Ranker
from led_pipeline.report.layout import Item, Layout, lay_out

# kind of edge: what it says in the legend, colour, dash pattern
KINDS = {
    "init": ("starts from its weights", "#334155", "none"),
    "negatives": ("trains on its hard negatives", "#c2570c", "7 4"),
    "teacher": ("learns from its scores", "#6d28d9", "2 3"),
    "candidates": ("re-ranks its results", "#64748b", "10 3 2 3"),
}
COLOURS = {  # family: fill, border
    "dense": ("#e8f1fd", "#2563a8"),
    "lexicon": ("#e6f5ec", "#24804f"),
    "ranker": ("#f3ecfc", "#6d28d9"),
    "pretrain": ("#f5f1e6", "#8a6d1d"),
    "system": ("#f1f3f5", "#64748b"),
}

# Lengths in SVG user units, which are pixels at full size.
_HEIGHT, _LEAST_WIDTH, _GAP, _BETWEEN, _MARGIN = 66, 200.0, 26, 86, 14
_LANE, _PORT, _APART = 13, 13.0, 6  # an edge between boxes; edges that meet at a box; edges that share a lane
_NAME, _CAPTION = 7.6, 6.0  # widths of a character

Point = tuple[float, float]


@dataclass(frozen=True)
class Edge:
    """What `target` takes from `source`."""

    source: str
    target: str
    kind: str
    label: str = ""


def edges(recipe: Recipe) -> list[Edge]:
    """Return what every stage takes from another stage or system; weights from a hub or a folder are no edge."""
    found = []
    for name in recipe.order():
        stage = recipe.stages[name]
        if stage.family == "pretrain":
            continue
        if stage.init in recipe.stages:
            found.append(Edge(stage.init, name, "init"))
        if stage.train:
            found += [Edge(system, name, "negatives") for system in dict.fromkeys(stage.negative_systems)]
            for t in stage.teachers:
                found += [Edge(system, name, "teacher", f"{t.loss} × {t.weight:g}") for system in t.systems]
        if isinstance(stage, Ranker):
            found.append(Edge(stage.rerank.system, name, "candidates", f"first {stage.rerank.depth}"))
    return list(dict.fromkeys(found))


def nodes(recipe: Recipe, found: list[Edge]) -> list[str]:
    """Return the boxes of the picture: BM25, other systems that are no stage, and the stages in order."""
    others = [edge.source for edge in found if edge.source not in recipe.stages]
    return list(dict.fromkeys(["bm25", *others, *recipe.order()]))


def draw(recipe: Recipe, scores: dict[str, str]) -> Markup:
    """Return the picture; `scores` is a line of text for those boxes that have one."""
    found = edges(recipe)
    names = nodes(recipe, found)
    width = max([_LEAST_WIDTH, *(min(len(name), 30) * _NAME + 28 for name in names)])
    pairs = list(dict.fromkeys((edge.source, edge.target) for edge in found))
    layout = lay_out(names, pairs, dict.fromkeys(names, float(_HEIGHT)), _GAP, _LANE)
    columns = max(layout.layer.values()) + 1
    across = columns * width + (columns - 1) * _BETWEEN + 2 * _MARGIN
    down = max(y + (_HEIGHT if isinstance(item, str) else _LANE) / 2 for item, y in layout.y.items()) + 2 * _MARGIN
    lines = "".join(_line(edge, points) for edge, points in _routed(found, layout, width).items())
    boxes = "".join(_box(recipe, name, _corner(layout, name, width), width, scores.get(name, "")) for name in names)
    size = f'viewBox="0 0 {across:.0f} {down:.0f}" width="{across:.0f}" height="{down:.0f}"'
    opening = f'<svg class="graph" role="img" aria-label="The stages of the recipe" {size}>'
    return Markup(f"{opening}{_arrowheads()}{lines}{boxes}</svg>")


def _left(layout: Layout, item: Item, width: float) -> float:
    return _MARGIN + layout.layer_of(item) * (width + _BETWEEN)


def _corner(layout: Layout, name: str, width: float) -> Point:
    return _left(layout, name, width), layout.y[name] - _HEIGHT / 2 + _MARGIN


def _routed(found: list[Edge], layout: Layout, width: float) -> dict[Edge, list[Point]]:
    """Return the points of every edge: a port of its own at both boxes, and both ends of the lanes between them."""
    route = {edge: layout.routes[edge.source, edge.target] for edge in found}
    order = sorted(found, key=lambda edge: list(KINDS).index(edge.kind))
    leaving = _placed(sorted(order, key=lambda edge: layout.y[route[edge][1]]), lambda edge: edge.source)
    arriving = _placed(sorted(order, key=lambda edge: layout.y[route[edge][-2]]), lambda edge: edge.target)
    beside = _placed(order, lambda edge: (edge.source, edge.target))
    points = {}
    for edge in found:
        start = (_left(layout, edge.source, width) + width, layout.y[edge.source] + leaving[edge] * _PORT + _MARGIN)
        end = (_left(layout, edge.target, width) - 3, layout.y[edge.target] + arriving[edge] * _PORT + _MARGIN)
        lanes = [
            (_left(layout, item, width) + side, layout.y[item] + beside[edge] * _APART + _MARGIN)
            for item in route[edge][1:-1]
            for side in (0.0, width)
        ]
        points[edge] = [start, *lanes, end]
    return points


def _placed(ordered: list[Edge], key) -> dict[Edge, float]:
    """Return the place of each edge among those of the same key, counted from their middle, within a box's height."""
    groups = defaultdict(list)
    for edge in ordered:
        groups[key(edge)].append(edge)
    places = {}
    for group in groups.values():
        middle = (len(group) - 1) / 2
        squeeze = min(1.0, (_HEIGHT - 14) / _PORT / max(1, len(group) - 1))
        places.update((edge, (i - middle) * squeeze) for i, edge in enumerate(group))
    return places


def _line(edge: Edge, points: list[Point]) -> str:
    says, colour, dashes = KINDS[edge.kind]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        path += f" C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    title = f"{edge.target} {says}: {edge.source}{f' ({edge.label})' if edge.label else ''}"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.7" stroke-dasharray="{dashes}"'
        f' marker-end="url(#arrow-{edge.kind})"><title>{escape(title)}</title></path>'
    )


def _arrowheads() -> str:
    heads = "".join(
        f'<marker id="arrow-{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for kind, (_, colour, _) in KINDS.items()
    )
    return f"<defs>{heads}</defs>"


def _captions(recipe: Recipe, name: str) -> tuple[str, str]:
    """Return the family of a box and the line below its name."""
    if name not in recipe.stages:
        kinds = {"bm25": "term matching", QRELS: "grades"} | dict.fromkeys(recipe.dataset.scores, "score file")
        return "system", kinds.get(name, "published negatives")
    stage = recipe.stages[name]
    if stage.family == "pretrain":
        return "pretrain", "made from the collection"
    if stage.init in recipe.stages:
        return stage.family, stage.family if stage.train else f"{stage.family}, not trained"
    return stage.family, f"{stage.family} · {stage.init.rstrip('/').split('/')[-1]}"


def _box(recipe: Recipe, name: str, corner: Point, width: float, score: str) -> str:
    family, caption = _captions(recipe, name)
    fill, border = COLOURS[family]
    x, y = corner
    shown = shortened(caption, int((width - 24) / _CAPTION))
    rows = [(shortened(name, 30), 20, "name"), (shown, 38, "caption"), (score, 55, "score")]
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
    used = {edge.kind for edge in edges(recipe)}
    key = Markup(
        '<span class="key"><svg width="38" height="10" aria-hidden="true"><line x1="1" y1="5" x2="37" y2="5"'
        ' stroke="{}" stroke-width="2" stroke-dasharray="{}"/></svg> {}</span>'
    )
    return Markup("").join(
        key.format(colour, dashes, says) for kind, (says, colour, dashes) in KINDS.items() if kind in used
    )
