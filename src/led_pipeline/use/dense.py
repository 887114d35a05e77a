"""Dense: exact inner products of a query's vector with the mapped vectors of all passages."""

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.data.opened import matrix
from led_pipeline.files.errors import InputError
from led_pipeline.search.faiss_index import block_keys, cpu_engine
from led_pipeline.search.top_k import NONE, best, unpack
from led_pipeline.use.encoders import StageModel
from led_pipeline.use.records import Hits, Match

BLOCK_VALUES = 2**22  # converted to float32 at once, into the same memory: new memory would take most of the time


class DenseEngine:
    """A dense stage.

    Args:
        paths: the files of the passages' vectors, in row order.
    """

    def __init__(self, model: StageModel, paths: Sequence[Path]):
        self._model = model
        self._paths = paths

    @cached_property
    def _files(self) -> list[Tensor]:
        """The mapped files. torch converts float16 several times faster than numpy, with all threads of the search."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # maps are read-only, and nothing writes to them
            return [torch.from_numpy(matrix(path)) for path in self._paths]

    def _vector(self, query: str) -> NDArray[np.float32]:
        vector = self._model.dense(query).astype(np.float32)
        for path, file in zip(self._paths, self._files, strict=True):
            if file.ndim != 2 or file.shape[1] != len(vector):
                raise InputError(
                    f"{path}: its shape is {tuple(file.shape)}, and the query vectors of {self._model.folder} have"
                    f" {len(vector)} dimensions; encode the passages again"
                )
        return vector

    def _blocks(self, dimensions: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first row of each block and its vectors, which are valid until the next block."""
        rows = max(1, BLOCK_VALUES // dimensions)
        block_PD, first = torch.empty(rows, dimensions), 0
        for file in self._files:
            for start in range(0, len(file), rows):
                part = file[start : start + rows]
                yield first + start, block_PD[: len(part)].copy_(part).numpy()
            first += len(file)

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages; ties by passage row."""
        query_1D = self._vector(query)[None]
        keys = np.full(0, NONE)
        for first, block_PD in self._blocks(query_1D.shape[1]):
            of_block = block_keys(cpu_engine, query_1D, block_PD, first, min(depth, len(block_PD)))[0]
            keys = best(np.concatenate([keys, of_block]), depth)
        scores, rows = unpack(np.sort(keys))
        return rows, scores

    def score(self, query: str, row: int) -> float:
        """Return the inner product with one passage."""
        vector = self._vector(query)
        for file in self._files:
            if row < len(file):
                return float(vector @ file[row].float().numpy())
            row -= len(file)
        raise IndexError(f"row {row} is beyond the last passage")

    def matches(self, query: str, row: int) -> list[Match]:
        return []
