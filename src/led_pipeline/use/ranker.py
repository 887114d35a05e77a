"""Ranker: another system's best passages in the order of a cross-encoder's scores."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.recipe.representation import RankerRepresentation
from led_pipeline.use.encoders import ONE, StageModel, device
from led_pipeline.use.records import NO_HITS, Hits, Match


class Candidates(Protocol):
    def search(self, query: str, depth: int) -> Hits: ...


class RankerEngine:
    """A ranker.

    Args:
        candidates: the system whose results it re-ranks.
        depth: the number of these results, `rerank.depth`.
        tokens: the files of the passages' tokens, in row order.
    """

    def __init__(self, model: StageModel, candidates: Candidates, depth: int, tokens: Sequence[Path]):
        self._model, self._candidates, self._depth, self._tokens = model, candidates, depth, tokens

    @cached_property
    def _passages(self) -> TokenStore:
        return self._model.prefixed(TokenStore.for_stage(self._tokens, self._model.settings), "passage")

    def search(self, query: str, depth: int) -> Hits:
        """Return the best of the candidates; among equal scores their order stays."""
        rows, _ = self._candidates.search(query, self._depth)
        if not len(rows):
            return NO_HITS
        scores = self._scores(query, rows)
        order = np.argsort(-scores, kind="stable")[:depth]
        return rows[order], scores[order]

    def _scores(self, query: str, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        settings = self._model.settings
        if not isinstance(settings, RankerRepresentation):
            raise InputError(f"{self._model.folder}: a ranker is needed here, this is a {settings.family} model")
        pairs = np.repeat(ONE, len(rows)).astype(np.int32), rows
        stores = self._model.store(query), self._passages
        scores = batches.score(self._model.model, *stores, pairs, settings, device(), self._model.precision)
        if not np.isfinite(scores).all():
            raise InputError(f"{self._model.folder}: it gives a passage no finite score; train it again")
        return scores

    def score(self, query: str, row: int) -> float:
        """Return the score of one passage, whether or not it is among the candidates."""
        return float(self._scores(query, np.array([row], dtype=np.int32))[0])

    def matches(self, query: str, row: int) -> list[Match]:
        return []
