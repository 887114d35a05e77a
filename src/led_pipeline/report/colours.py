"""Colours: one per system, the same in every chart and table of a page."""

from collections.abc import Sequence

from led_pipeline.report.comparisons import Answer

# Legible on white and on black; the first two, blue and orange, are told apart with any kind of colour vision.
PALETTE = (
    "#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#0ea5b7", "#ca9a04", "#ec4899", "#65a30d", "#6366f1",
    "#b45309", "#0f766e",
)  # fmt: skip
BM25 = "#8492a6"


def colours(systems: Sequence[str], about: Answer | None) -> dict[str, str]:
    """Return the colour of every system: grey for BM25, the first ones for the final stage and its control."""
    first = [name for name in (about.final, about.control) if name] if about else []
    others = [name for name in dict.fromkeys([*first, *systems]) if name != "bm25"]
    return {"bm25": BM25} | {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(others)}
