"""Ragged arrays: rows of different lengths in one flat array, as the binary files hold them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def places(starts: NDArray, lengths: NDArray) -> NDArray[np.int64]:
    """Return the positions start, start + 1, ..., start + length - 1 of every range, concatenated."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths in one flat array: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: NDArray
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.integer]) -> "Ragged":
        """Return the given rows, in the given order."""
        lengths = self.lengths[rows]
        values = self.values[places(self.offsets[:-1][rows], lengths)]
        return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray], dtype: np.dtype | type) -> "Ragged":
        """Join rows into one ragged array of the given dtype."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        values = np.concatenate(rows).astype(dtype, copy=False) if rows else np.empty(0, dtype=dtype)
        return cls(values, offsets)

    @classmethod
    def joined(cls, parts: Sequence["Ragged"], dtype: np.dtype | type) -> "Ragged":
        """Concatenate ragged arrays into one of the given dtype."""
        lengths = [np.zeros(1, dtype=np.int64), *(part.lengths for part in parts)]
        values = [np.empty(0, dtype=dtype), *(part.values for part in parts)]
        return cls(np.concatenate(values, dtype=dtype), np.cumsum(np.concatenate(lengths)))
