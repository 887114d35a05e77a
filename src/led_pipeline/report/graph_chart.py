"""The chart of the recipe's graph."""

from typing import Any

import altair as alt
import pandas as pd

from led_pipeline.report.charts import DIM, INK, Spec, finished
from led_pipeline.report.graph import HEIGHT, KINDS, WIDTH, Drawing, shortened

EDGES = {  # kind of edge -> colour, dashes
    "init": (DIM, [1, 0]),
    "negatives": ("#f97316", [7, 4]),
    "judge": ("#ef4444", [9, 3]),
    "teacher": ("#a855f7", [2, 3]),
    "candidates": ("#8492a6", [10, 3, 2, 3]),
    "fused": ("#10b981", [4, 3]),
}
BOXES = {  # output of a stage -> border
    "dense": "#3b82f6",
    "sparse": "#10b981",
    "scores": "#a855f7",
    "none": "#ca9a04",
    "system": "#8492a6",
}
NAME, CAPTION = 22, 28  # characters of a line in a box
MARGIN = 8


def boxes_frame(drawing: Drawing, scores: dict[str, str]) -> pd.DataFrame:
    """Return a row per box: its texts and edges."""
    return pd.DataFrame(
        {
            "name": [shortened(box.name, NAME) for box in drawing.boxes],
            "caption": [shortened(box.caption, CAPTION) for box in drawing.boxes],
            "score": [scores.get(box.name, "") for box in drawing.boxes],
            "whole": [f"{box.name}: {box.caption}" for box in drawing.boxes],
            "output": [box.output for box in drawing.boxes],
            "left": [box.x for box in drawing.boxes],
            "right": [box.x + WIDTH for box in drawing.boxes],
            "top": [box.y for box in drawing.boxes],
            "bottom": [box.y + HEIGHT for box in drawing.boxes],
        }
    )


def points_frame(drawing: Drawing) -> pd.DataFrame:
    """Return a row per point of a line."""
    return pd.DataFrame(
        [
            {"link": i, "what": str(link), "kind": KINDS[link.kind], "x": x, "y": y, "place": place}
            for i, (link, line) in enumerate(drawing.lines.items())
            for place, (x, y) in enumerate(line)
        ],
        columns=["link", "what", "kind", "x", "y", "place"],
    )


def graph_chart(drawing: Drawing, scores: dict[str, str]) -> Spec:
    """Draw the graph; `scores` is a line of text for those boxes that have one."""
    width, height = drawing.width + 2 * MARGIN, drawing.height + 2 * MARGIN
    across = alt.Scale(domain=[-MARGIN, drawing.width + MARGIN], nice=False, zero=False)
    down = alt.Scale(domain=[drawing.height + MARGIN, -MARGIN], nice=False, zero=False)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=across, axis=None)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=down, axis=None)

    boxes, points = boxes_frame(drawing, scores), points_frame(drawing)
    ends = points.loc[points.groupby("link")["place"].idxmax()]
    used = [kind for kind in EDGES if KINDS[kind] in set(points["kind"])]
    domain = [KINDS[kind] for kind in used]
    colour = alt.Color("kind:N", scale=alt.Scale(domain=domain, range=[EDGES[k][0] for k in used]), legend=None)
    dashes = alt.StrokeDash("kind:N", scale=alt.Scale(domain=domain, range=[EDGES[k][1] for k in used]), legend=None)
    border = alt.Color("output:N", scale=alt.Scale(domain=list(BOXES), range=list(BOXES.values())), legend=None)
    lines = (
        alt.Chart(points)
        .mark_line(strokeWidth=1.8, interpolate="monotone")
        .encode(x("x"), y("y"), detail="link:N", order="place:Q", color=colour, strokeDash=dashes, tooltip="what:N")
    )
    heads = (
        alt.Chart(ends)
        .mark_point(shape="triangle-right", filled=True, size=70, opacity=1)
        .encode(x("x"), y("y"), color=colour, tooltip="what:N")
    )
    rectangles = (
        alt.Chart(boxes)
        .mark_rect(cornerRadius=7, strokeWidth=1.6, fill="var(--paper)", fillOpacity=1)
        .encode(x("left"), y("top"), x2="right:Q", y2="bottom:Q", stroke=border, tooltip="whole:N")
    )

    def text(field: str, below: int, **style: Any) -> alt.Chart:
        mark: dict[str, Any] = {"align": "left", "baseline": "top", "dx": 11, "dy": below, "tooltip": None, **style}
        return alt.Chart(boxes).mark_text(**mark).encode(x("left"), y("top"), text=f"{field}:N")

    texts = [
        text("name", 8, fontSize=13, fontWeight=600, color=INK),
        text("caption", 26, fontSize=11, color=DIM),
        text("score", 42, fontSize=11, fontWeight=600, color=INK),
    ]
    chart = alt.layer(lines, heads, rectangles, *texts).properties(width=width, height=height)
    words = "; ".join(map(str, drawing.lines))
    return finished(chart, f"the stages of the recipe. {words}")


def legend(drawing: Drawing) -> list[tuple[str, str, str]]:
    """Return the kinds of lines that a drawing has: what they mean, colour, and dashes of SVG."""
    used = {link.kind for link in drawing.lines}
    return [(KINDS[k], colour, " ".join(map(str, dashes))) for k, (colour, dashes) in EDGES.items() if k in used]
