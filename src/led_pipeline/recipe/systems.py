"""The recipe's systems that are no stages and no search engine: runs from elsewhere, and fusions. Imports no torch."""

from typing import Literal

from pydantic import Field

from led_pipeline.recipe.schema import Count, Depth, Factor, Name, Section

Method = Literal["rrf", "weighted"]
Normalisation = Literal["min_max", "z_score"]


class Fusion(Section):
    """A system made of the rankings of other systems, without training."""

    method: Method
    """rrf: the sum of 1 / (k + rank) (reciprocal rank fusion); weighted: the sum of normalised scores"""
    systems: list[Name] = Field(min_length=2)
    """two or more: bm25, stages, names under dataset.runs, other fusions"""
    weights: list[Factor] = []
    """what each system's part of the sum is multiplied by, in the order of `systems`; 1 by default"""
    k: Count | None = None
    """rrf: added to every rank; 60 by default"""
    normalise: Normalisation | None = None
    """weighted: how a query's scores are scaled; min_max by default"""
    depth: Depth | None = None
    """number of passages of each ranking that count, best first; all that are ranked by default"""

    @property
    def rank_offset(self) -> int:
        """The k of reciprocal rank fusion."""
        return 60 if self.k is None else self.k

    @property
    def normalisation(self) -> Normalisation:
        """How the scores of a weighted sum are scaled."""
        return self.normalise or "min_max"

    @property
    def weight_of(self) -> list[float]:
        """The weight of each system."""
        return self.weights or [1.0] * len(self.systems)
