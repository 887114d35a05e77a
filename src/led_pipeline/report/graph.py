"""The recipe as a graph: its stages as boxes and what each takes from others as lines, placed by grandalf."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import DummyVertex, SugiyamaLayout, VertexViewer

from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS

KINDS = {  # kind of edge -> what it says in the legend
    "init": "starts from its weights",
    "negatives": "trains on its hard negatives",
    "judge": "leaves out negatives that it scores high",
    "teacher": "learns from its scores",
    "candidates": "re-ranks its results",
    "fused": "is made of its ranking",
}

# Pixels.
WIDTH, HEIGHT = 188, 62  # of a box
ACROSS, DOWN = 78, 24  # between boxes of two layers, and of one layer
PORT = 11  # between lines that meet at a box
STUB = 12  # that a line runs straight before it bends
ROUNDS = 8  # of the search for few crossings

Point = tuple[float, float]


@dataclass(frozen=True)
class Link:
    """What `target` takes from `source`."""

    source: str
    target: str
    kind: str
    label: str = ""

    def __str__(self) -> str:
        remark = f" ({self.label})" if self.label else ""
        return f"{self.target} {KINDS[self.kind]}: {self.source}{remark}"


@dataclass(frozen=True)
class Box:
    """A stage or system, with its left upper corner."""

    name: str
    output: str
    """dense, sparse or scores; none for a pretrained encoder, system for what is no stage."""
    caption: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes, the points of every line from its source to its target, and the size of the whole."""

    boxes: list[Box]
    lines: dict[Link, list[Point]]
    width: float
    height: float


def links(recipe: Recipe) -> list[Link]:
    """Return what every stage and fusion takes from others; weights from a hub or a folder are no link."""
    edges = [(edge, name) for name in needs.ordered(recipe) for edge in needs.edges(recipe, name)]
    return [
        Link(edge.source, name, edge.kind, edge.label)
        for edge, name in edges
        if edge.kind in KINDS and (edge.kind != "init" or edge.source in recipe.stages)
    ]


def nodes(recipe: Recipe, drawn: Sequence[Link]) -> list[str]:
    """Return the boxes of the picture: BM25, other systems that are no stage, and the stages and fusions in order."""
    ordered = needs.ordered(recipe)
    others = [link.source for link in drawn if link.source not in ordered]
    return list(dict.fromkeys(["bm25", *recipe.dataset.runs, *others, *ordered]))


def place(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, Point], list[list[Point]]]:
    """Place boxes in layers from left to right.

    Args:
        pairs: distinct (source, target) without a cycle.

    Returns:
        The left middle of every box, and per pair where its line passes the layers between, as left middles of boxes.
    """
    vertices = {name: Vertex(name) for name in names}
    for vertex in vertices.values():
        vertex.view = VertexViewer(w=HEIGHT, h=WIDTH)  # its layers are below one another
    edges = {pair: Edge(vertices[pair[0]], vertices[pair[1]]) for pair in pairs}
    places: dict[str, Point] = {}
    routes: dict[tuple[str, str], list[Point]] = {}
    below = 0.0  # the parts that came before
    for part in Graph(list(vertices.values()), list(edges.values())).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace, layout.dw, layout.dh = DOWN, ACROSS, HEIGHT, WIDTH
        layout.init_all()
        layout.draw(ROUNDS)
        tops = [each.view.xy[0] for layer in layout.layers for each in layer]
        shift = below - min(tops)

        def pixels(view: VertexViewer, shift: float = shift) -> Point:
            return view.xy[1] - WIDTH / 2, view.xy[0] + shift

        below += max(tops) - min(tops) + HEIGHT + DOWN
        places |= {vertex.data: pixels(vertex.view) for vertex in part.V()}
        for pair in pairs:
            if pair[0] in places and pair not in routes:
                passed = layout.ctrls.get(edges[pair], {})
                routes[pair] = [pixels(at.view) for _, at in sorted(passed.items()) if isinstance(at, DummyVertex)]
    return places, [routes[pair] for pair in pairs]


def draw(recipe: Recipe) -> Drawing:
    """Return the drawing of a recipe."""
    drawn = links(recipe)
    names = nodes(recipe, drawn)
    pairs = list(dict.fromkeys((link.source, link.target) for link in drawn))
    places, routing = place(names, pairs)
    left, top = min(x for x, _ in places.values()), min(y for _, y in _all(places, routing)) - HEIGHT / 2
    routes = {
        pair: [places[pair[0]], *sorted(points), places[pair[1]]] for pair, points in zip(pairs, routing, strict=True)
    }
    leaving = _ports(drawn, lambda link: link.source, lambda link: routes[link.source, link.target][1][1])
    arriving = _ports(drawn, lambda link: link.target, lambda link: routes[link.source, link.target][-2][1])
    beside = _ports(drawn, lambda link: (link.source, link.target), lambda link: list(KINDS).index(link.kind))
    lines = {}
    for link in drawn:
        (x0, y0), *between, (x1, y1) = routes[link.source, link.target]
        passed = [(x + side, y + beside[link]) for x, y in between for side in (0, WIDTH)]
        begin, end = (x0 + WIDTH, y0 + leaving[link]), (x1 - 7, y1 + arriving[link])
        points = [begin, (begin[0] + STUB, begin[1]), *passed, (end[0] - STUB, end[1]), end]
        lines[link] = [(x - left, y - top) for x, y in points]
    boxes = [_box(recipe, name, (x - left, y - top - HEIGHT / 2)) for name, (x, y) in places.items()]
    width = max(box.x for box in boxes) + WIDTH
    height = max([box.y + HEIGHT for box in boxes] + [y + PORT for points in lines.values() for _, y in points])
    return Drawing(boxes, lines, width, height)


def _all(places: dict[str, Point], routing: list[list[Point]]) -> list[Point]:
    return [*places.values(), *(point for points in routing for point in points)]


def _ports(
    drawn: Sequence[Link], box: Callable[[Link], Hashable], towards: Callable[[Link], float]
) -> dict[Link, float]:
    """Return how far from the middle of a box each of its lines is, in the order of where the lines go."""
    groups: dict[Hashable, list[Link]] = defaultdict(list)
    for link in drawn:
        groups[box(link)].append(link)
    ports = {}
    for group in groups.values():
        step = min(PORT, (HEIGHT - 12) / max(1, len(group) - 1))
        for i, link in enumerate(sorted(group, key=towards)):
            ports[link] = (i - (len(group) - 1) / 2) * step
    return ports


def _box(recipe: Recipe, name: str, corner: Point) -> Box:
    output, caption = _captions(recipe, name)
    return Box(name, output or "none", caption, *corner)


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
        return stage.output, f"{stage.family}, not trained" if name in recipe.imported else stage.family
    return stage.output, f"{stage.family} · {stage.init.rstrip('/').split('/')[-1]}"


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, the last one an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
