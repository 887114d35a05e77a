"""Variants: a dense stage's query vector, made smaller, among the stage's passage vectors, made smaller."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.recipe.variants import VariantSettings
from led_pipeline.search.quantisers import shortened
from led_pipeline.search.top_k import unpack
from led_pipeline.search.variants import Smaller
from led_pipeline.use.encoders import StageModel
from led_pipeline.use.records import Hits, Match


class VariantEngine:
    """A variant of a dense stage.

    Args:
        paths: the files of the stage's passage vectors, in row order.
    """

    def __init__(self, model: StageModel, paths: Sequence[Path], settings: VariantSettings):
        self._model, self._paths, self._settings = model, paths, settings

    @cached_property
    def _vectors(self) -> Smaller:
        return Smaller.of([matrix(path) for path in self._paths], self._settings)

    def _query(self, query: str) -> NDArray[np.float16]:
        vector = self._model.dense(query)[None]
        return shortened(vector, self._settings.dimensions, self._settings.normalize)

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages; ties by passage row."""
        keys = self._vectors.best(self._query(query), depth)[0]
        scores, rows = unpack(np.sort(keys))
        return rows, scores

    def score(self, query: str, row: int) -> float:
        """Return the score of one passage, as in the results of a search."""
        return self._vectors.score(self._query(query), row)

    def matches(self, query: str, row: int) -> list[Match]:
        return []
