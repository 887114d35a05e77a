"""Dense: exact inner products of a query's vector with the mapped vectors of all passages."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.files.errors import InputError
from led_pipeline.search.faiss_index import block_keys, cpu_engine
from led_pipeline.search.top_k import NONE, best, unpack
from led_pipeline.use.encoders import StageModel
from led_pipeline.use.records import Hits, Match

BLOCK = 16_384  # passages converted to float32 at once


class DenseEngine:
    """A dense stage.

    Args:
        paths: the files of the passages' vectors, in row order.
    """

    def __init__(self, model: StageModel, paths: Sequence[Path]):
        self._model = model
        self._paths = paths

    @cached_property
    def _files(self) -> list[NDArray]:
        return [matrix(path) for path in self._paths]

    def _vector(self, query: str) -> NDArray[np.float32]:
        vector = self._model.dense(query).astype(np.float32)
        for path, file in zip(self._paths, self._files, strict=True):
            if file.ndim != 2 or file.shape[1] != len(vector):
                raise InputError(
                    f"{path}: its shape is {file.shape}, and the query vectors of {self._model.folder} have"
                    f" {len(vector)} dimensions; encode the passages again"
                )
        return vector

    def _blocks(self) -> Iterator[tuple[int, NDArray]]:
        first = 0
        for file in self._files:
            for start in range(0, len(file), BLOCK):
                yield first + start, file[start : start + BLOCK]
            first += len(file)

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages; ties by passage row."""
        query_1D = self._vector(query)[None]
        keys = np.full(0, NONE)
        for first, block_PD in self._blocks():
            of_block = block_keys(cpu_engine, query_1D, block_PD, first, min(depth, len(block_PD)))[0]
            keys = best(np.concatenate([keys, of_block]), depth)
        scores, rows = unpack(np.sort(keys))
        return rows, scores

    def score(self, query: str, row: int) -> float:
        """Return the inner product with one passage."""
        vector = self._vector(query)
        for file in self._files:
            if row < len(file):
                return float(vector @ np.asarray(file[row], dtype=np.float32))
            row -= len(file)
        raise IndexError(f"row {row} is beyond the last passage")

    def matches(self, query: str, row: int) -> list[Match]:
        return []
