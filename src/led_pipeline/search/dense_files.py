"""Stored dense vectors: mapped files with checks of their shape and their values, read block by block."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.files.errors import InputError

# A part of a block: its file, the first of its rows in the file, and its vectors.
Part = tuple[Path, int, NDArray]


def dense_files(paths: Sequence[Path], queries: Path) -> tuple[list[NDArray], NDArray]:
    """Map the vectors of passages and queries.

    Raises:
        InputError: they differ in dimension.
    """
    files, query_vectors = [_load(path) for path in paths], _load(queries)
    for path, vectors in zip(paths, files, strict=True):
        if vectors.shape[1] != query_vectors.shape[1]:
            raise InputError(
                f"{path}: its vectors have {vectors.shape[1]} dimensions, those of {queries} {query_vectors.shape[1]};"
                " encode both with the same stage"
            )
    return files, query_vectors


def _load(path: Path) -> NDArray:
    vectors = matrix(path)
    if vectors.ndim != 2:
        raise InputError(f"{path}: expected a matrix with one vector per row, its shape is {vectors.shape}")
    return vectors


def not_finite(path: Path, row: int) -> InputError:
    """Return the error of a row of a file that has a value that is not finite."""
    return InputError(
        f"{path}: row {row}: a value is NaN or infinite, so the stage diverged in training"
        " or its vectors do not fit into float16; train it again with a lower learning rate or in float32"
    )


def finite(vectors: NDArray, path: Path, first: int) -> NDArray:
    """Return the vectors, which start at row `first` of a file; a row that is not finite is an `InputError`."""
    rows = np.isfinite(vectors).all(axis=1)
    if not rows.all():
        raise not_finite(path, first + int(rows.argmin()))
    return vectors


def parts_of_blocks(paths: Sequence[Path], shards: Sequence[NDArray], rows: int) -> Iterator[list[Part]]:
    """Yield the parts of blocks of `rows` rows, the last one possibly shorter, across the boundaries of the shards.

    The vectors are views of the mapped files: nothing has been read.
    """
    parts: list[Part] = []
    missing = rows
    for path, shard in zip(paths, shards, strict=True):
        start = 0
        while start < len(shard):
            part = shard[start : start + missing]
            parts.append((path, start, part))
            start += len(part)
            missing -= len(part)
            if not missing:
                yield parts
                parts, missing = [], rows
    if parts:
        yield parts


def blocks(paths: Sequence[Path], shards: Sequence[NDArray], rows: int, dtype: type) -> Iterator[NDArray]:
    """Yield the blocks of `parts_of_blocks`, read, with their values checked and converted."""
    for parts in parts_of_blocks(paths, shards, rows):
        read = [finite(np.array(vectors, dtype=dtype), path, start) for path, start, vectors in parts]
        yield np.concatenate(read) if len(read) > 1 else read[0]
