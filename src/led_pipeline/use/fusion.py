"""Fusion: one ranking of the results of several systems, as `data.fusion` fuses those of a split."""

from collections.abc import Sequence

from led_pipeline.data.fusion import fuse_lists
from led_pipeline.recipe.systems import Fusion
from led_pipeline.use.records import NO_HITS, Engine, Hits, Match


class FusionEngine:
    """A fusion of systems.

    Args:
        parts: the engines of `fusion.systems`, in their order.
        depth: passages of each system, `evaluation.depth`: what is fused decides about the scores.
    """

    def __init__(self, fusion: Fusion, parts: Sequence[Engine], depth: int):
        self._fusion, self._parts, self._depth = fusion, parts, depth

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages of the fused rankings."""
        lists = [part.search(query, self._depth) for part in self._parts]
        return fuse_lists(lists, self._fusion, depth) if any(len(rows) for rows, _ in lists) else NO_HITS

    def score(self, query: str, row: int) -> None:
        return None

    def matches(self, query: str, row: int) -> list[Match]:
        return []
