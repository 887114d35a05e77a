"""A layered drawing of a small directed graph: layers left to right, edges routed around the boxes.

The usual four steps (Sugiyama et al., 1981): each node is in the layer after its last predecessor, an edge that
spans several layers passes through a waypoint in each of them, the order within a layer is swept towards few crossings,
and the heights are the closest to straight edges that keep the order and the distances.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

Item = str | tuple[str, str, int]  # a node, or the waypoint of an edge (source, target) in a layer
Edge = tuple[str, str]

_SWEEPS = 24


@dataclass(frozen=True)
class Drawing:
    """Layer and height (of the centre) of every node, and what each edge passes, from its source to its target."""

    layer: dict[str, int]
    y: dict[Item, float]
    routes: dict[Edge, list[Item]]

    def layer_of(self, item: Item) -> int:
        return self.layer[item] if isinstance(item, str) else item[2]


def lay_out(
    nodes: Sequence[str], edges: Sequence[Edge], heights: Mapping[str, float], gap: float, lane: float
) -> Drawing:
    """Place nodes; the edges must be distinct and without a cycle.

    Args:
        nodes: names, in the order that decides between equally good drawings.
        edges: (source, target) pairs.
        heights: the height of each node's box.
        gap: least distance between two boxes of a layer.
        lane: the height kept free for an edge that passes between boxes.
    """
    layer = _layers(nodes, edges)
    routes: dict[Edge, list[Item]] = {
        (u, v): [u, *((u, v, step) for step in range(layer[u] + 1, layer[v])), v]
        for u, v in sorted(edges, key=lambda edge: (nodes.index(edge[0]), nodes.index(edge[1])))
    }
    columns: list[list[Item]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        columns[layer[node]].append(node)
    for route in routes.values():
        for item in route[1:-1]:
            if not isinstance(item, str):  # always a waypoint
                columns[item[2]].append(item)
    links = [link for route in routes.values() for link in pairwise(route)]
    columns = _ordered(columns, links)
    return Drawing(layer, _heights(columns, links, heights, gap, lane), routes)


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    layer = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest path has fewer edges than there are nodes
        for u, v in edges:
            layer[v] = max(layer[v], layer[u] + 1)
    return layer


def crossings(columns: Sequence[Sequence[Item]], links: Iterable[tuple[Item, Item]]) -> int:
    """Count the pairs of links between neighbouring layers that cross."""
    place = {item: (i, j) for i, column in enumerate(columns) for j, item in enumerate(column)}
    spans = [(place[u], place[v]) for u, v in links]
    return sum(a[0] == b[0] and (a[1] - b[1]) * (c[1] - d[1]) < 0 for (a, c), (b, d) in combinations(spans, 2))


def _ordered(columns: list[list[Item]], links: list[tuple[Item, Item]]) -> list[list[Item]]:
    """Sort each layer by the mean place of its neighbours, those before and those after by turns, and keep the best."""
    before: dict[Item, list[Item]] = {}
    after: dict[Item, list[Item]] = {}
    for u, v in links:
        before.setdefault(v, []).append(u)
        after.setdefault(u, []).append(v)
    best, fewest = columns, crossings(columns, links)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        columns = [list(column) for column in columns]
        for i in range(len(columns)) if forward else reversed(range(len(columns))):
            place = {item: j / len(column) for column in columns for j, item in enumerate(column)}
            columns[i].sort(key=lambda item: fmean(place[n] for n in neighbours.get(item) or [item]))
        count = crossings(columns, links)
        if count < fewest:
            best, fewest = columns, count
    return best


def _heights(
    columns: list[list[Item]],
    links: list[tuple[Item, Item]],
    heights: Mapping[str, float],
    gap: float,
    lane: float,
) -> dict[Item, float]:
    """Move every item towards the mean of its neighbours, layer by layer, as far as the order and distances allow."""
    near: dict[Item, list[Item]] = {item: [] for column in columns for item in column}
    for u, v in links:
        near[u].append(v)
        near[v].append(u)

    def half(item: Item) -> float:
        return (heights[item] if isinstance(item, str) else lane) / 2

    def stacked(column: list[Item]) -> list[float]:
        offsets = [0.0]
        for u, v in pairwise(column):
            offsets.append(offsets[-1] + half(u) + half(v) + (gap if isinstance(u, str) or isinstance(v, str) else 4))
        return offsets

    y: dict[Item, float] = {}
    for column in columns:
        offsets = stacked(column)
        y.update((item, offset - offsets[-1] / 2) for item, offset in zip(column, offsets, strict=True))
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            targets = [fmean(y[n] for n in near[item]) if near[item] else y[item] for item in column]
            y.update(zip(column, spread(targets, stacked(column)), strict=True))
    top = min(y[item] - half(item) for item in y) if y else 0.0
    return {item: value - top for item, value in y.items()}


def spread(targets: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Return the places nearest to the targets (least squares) that are at least as far apart as the offsets.

    With the offsets taken off, the places must not fall: isotonic regression, by pooling neighbours that do.
    """
    pools: list[list[float]] = []
    for target, offset in zip(targets, offsets, strict=True):
        pools.append([target - offset])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [fmean(pool) for pool in pools for _ in pool]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]
