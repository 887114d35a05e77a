"""Nearest: the passages whose stored vectors of a dense stage are most similar to one passage's.

Files of vectors are mapped and multiplied block by block. A search stops after a time, and says how many it compared.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import VECTOR_SUFFIX, Layout

BLOCK = 16_384  # vectors that are compared at once
SECONDS = 1.5


@dataclass(frozen=True)
class Nearest:
    """The most similar passages, best first: their rows and similarities."""

    stage: str
    rows: list[int]
    similarities: list[float]
    compared: int
    passages: int


def vector_files(recipe: Recipe, layout: Layout, stage: str) -> list[Path]:
    """Return the files of a dense stage's passage vectors in row order; none unless all of them are on disk."""
    suffix = VECTOR_SUFFIX["dense"]
    paths = [Path(layout.passage_vectors(stage, shard, suffix)) for shard in range(recipe.dataset.shards)]
    return paths if all(path.exists() for path in paths) else []


def nearest(paths: list[Path], stage: str, row: int, count: int, seconds: float = SECONDS) -> Nearest | None:
    """Compare one passage with the others for at most that many seconds (a block is always completed).

    Returns:
        None if the files have no such row.
    """
    parts = [matrix(path) for path in paths]
    starts = np.cumsum([0, *map(len, parts)])
    passages = int(starts[-1])
    if not 0 <= row < passages:
        return None
    part = int(np.searchsorted(starts, row, side="right")) - 1
    vector = np.asarray(parts[part][row - starts[part]], dtype=np.float32)
    best_rows, best = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    compared, end = 0, time.monotonic() + seconds
    for first, vectors in zip(starts[:-1].tolist(), parts, strict=True):
        for start in range(0, len(vectors), BLOCK):
            if compared and time.monotonic() > end:
                break
            similarities = np.asarray(vectors[start : start + BLOCK], dtype=np.float32) @ vector
            rows = np.arange(first + start, first + start + len(similarities))
            best_rows, best = _best(np.append(best_rows, rows), np.append(best, similarities), count + 1)
            compared += len(similarities)
    others = best_rows != row
    return Nearest(stage, best_rows[others][:count].tolist(), best[others][:count].tolist(), compared, passages)


def _best(rows: NDArray[np.int64], values: NDArray[np.float32], count: int) -> tuple[NDArray, NDArray]:
    order = np.lexsort((rows, -values))[:count]
    return rows[order], values[order]
