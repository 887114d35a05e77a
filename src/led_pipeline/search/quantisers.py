"""Smaller vectors of passages, with exact definitions, and the vectors that a search computes with.

- Shortened: the first dimensions, divided by their length if the stage's vectors have length 1, as float16.
- int8: the range of each dimension over all passages is cut into 255 steps; a value becomes the number of its step, 0
  to 255. The product with a query uses the middles of the steps, and the query's own numbers. The codes are those of
  `quantize_embeddings` of sentence-transformers with "uint8", codes and products those of FAISS's QT_8bit.
- binary: one bit per dimension, 1 above 0 ("ubinary" of sentence-transformers), of queries, too. The score is the
  number of equal bits minus that of different ones, D - 2 x Hamming distance.

# P = passages, D = dimensions
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 255
ROWS = 65_536  # read at once for the ranges


def shortened(vectors_PD: NDArray, dimensions: int | None, normalize: bool) -> NDArray:
    """Return the first dimensions of vectors; None: the vectors as they are. A vector of zeros remains one."""
    if dimensions is None:
        return vectors_PD
    part = np.asarray(vectors_PD[:, :dimensions], dtype=np.float32)
    if normalize:
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        part = (part / np.where(lengths == 0, 1, lengths)).astype(np.float32, copy=False)
    return part.astype(vectors_PD.dtype)


@dataclass(frozen=True)
class Int8:
    """The ranges of an int8 code."""

    start_D: NDArray[np.float32]
    step_D: NDArray[np.float32]

    @classmethod
    def of(cls, blocks: Iterable[NDArray]) -> "Int8":
        """Return the code of a collection, from all its vectors in blocks."""
        low, high = None, None
        for block in blocks:
            if len(block):
                least, most = (extreme(block, axis=0).astype(np.float32) for extreme in (np.min, np.max))
                low = least if low is None else np.minimum(low, least)
                high = most if high is None else np.maximum(high, most)
        if low is None or high is None:
            return cls(np.zeros(0, dtype=np.float32), np.ones(0, dtype=np.float32))
        steps = (high - low) / np.float32(STEPS)
        return cls(low, np.where(steps == 0, np.float32(1), steps))

    def codes(self, vectors_PD: NDArray) -> NDArray[np.uint8]:
        """Return the number of the step of each value."""
        numbers = np.floor((np.asarray(vectors_PD, dtype=np.float32) - self.start_D) / self.step_D)
        return np.clip(numbers, 0, STEPS).astype(np.uint8)

    def decoded(self, codes_PD: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the middle of the step of each code."""
        middles: NDArray[np.float32] = self.start_D + (codes_PD.astype(np.float32) + np.float32(0.5)) * self.step_D
        return middles


def bits(vectors_PD: NDArray) -> NDArray[np.uint8]:
    """Return the signs of vectors as bits, eight per byte; the last byte is filled with zeros."""
    return np.packbits(np.asarray(vectors_PD) > 0, axis=1)


def row_blocks(files: Sequence[NDArray], rows: int = ROWS) -> Iterable[NDArray]:
    """Yield the vectors of several files in blocks of at most `rows` rows."""
    for file in files:
        for start in range(0, len(file), rows):
            yield file[start : start + rows]
