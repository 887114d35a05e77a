"""Open the binary files between stages; an error names the damaged file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import reading

OURS = "a file of this pipeline; remove it to have it made again"


@contextmanager
def _ours(path: Path | str, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    try:
        with reading(path, OURS, also=also):
            yield
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"{path}: no such file; let Snakemake make it: snakemake --cores all {path}") from None
        raise


@contextmanager
def parquet(path: Path | str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file for the length of the block; errors while reading it become an `InputError`."""
    with _ours(path), pq.ParquetFile(path) as file:
        yield file


def arrow(path: Path | str) -> pa.Table:
    """Memory-map an Arrow file."""
    with _ours(path):
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def matrix(path: Path | str, mapped: bool = True) -> NDArray:
    """Memory-map, or read, the array of a .npy file."""
    with _ours(path, also=(ValueError,)):
        return np.load(path, mmap_mode="r" if mapped else None)
