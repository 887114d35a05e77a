"""Write the posting file of exact lexicon search from the quantised vectors of all passages, block by block.

Memory holds the blocks that are made at the same time, one per thread, and the table of terms.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import naming_a_full_disk
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.impacts import quantise
from led_pipeline.search.ordered import ordered
from led_pipeline.search.posting_file import HEADER, HEADER_BYTES, MAGIC, MOST_ROWS, TABLE, VERSION, padding

BLOCK_ROWS = 8_192  # passages: their scores take 32 KiB, and a search reads no block that its bounds exclude
SPLIT_SHARE = 1 / 16  # additional postings that a smaller type of impacts may cost

Shards = Sequence[tuple[Path, SparseVectors]]


@dataclass(frozen=True)
class Block:
    """The arrays of one block in the order of the file, and what the tables need to know."""

    arrays: tuple[NDArray, ...]  # terms, starts, largest, rows, impacts
    highest: int
    terms: NDArray[np.int64]  # ascending
    frequency: NDArray[np.int64]  # passages with the term
    largest: NDArray[np.int64]


def make_block(impacts: SparseVectors, term_bytes: int) -> Block:
    """Return a block of passages with positive integer weights."""
    terms, full = impacts.terms.values.astype(np.int64), impacts.weights.values.astype(np.int64)
    rows = np.repeat(np.arange(len(impacts), dtype=np.uint16), impacts.terms.lengths)
    # A stable sort of 16-bit numbers takes linear time.
    order = np.argsort(terms.astype(np.uint16 if term_bytes == 2 else np.uint32), kind="stable")
    terms, full, rows = terms[order], full[order], rows[order]
    first = np.flatnonzero(np.diff(terms, prepend=-1))
    highest = int(full.max(initial=0))
    width = _width(full, highest)
    most = 2 ** (8 * width) - 1
    repeats = (full + most - 1) // most
    values = np.full(int(repeats.sum()), most, dtype=f"<u{width}")
    values[np.cumsum(repeats) - 1] = full - most * (repeats - 1)
    starts = np.concatenate([[0], np.cumsum(repeats)])[np.append(first, len(terms))]
    largest = np.maximum.reduceat(full, first) if len(first) else full
    arrays = (
        terms[first].astype(f"<u{term_bytes}"),
        starts.astype("<u4"),
        np.minimum(largest, 65_535).astype("<u2"),
        np.repeat(rows, repeats).astype("<u2"),
        values,
    )
    return Block(arrays, highest, terms[first], np.diff(np.append(first, len(terms))), largest)


def _width(impacts: NDArray[np.int64], highest: int) -> int:
    """Return the bytes of a block's impacts: the fewest that need few additional postings."""
    for width in (1, 2):
        most = 2 ** (8 * width) - 1
        if highest <= most or int(((impacts - 1) // most).sum()) <= SPLIT_SHARE * len(impacts):
            return width
    return 4


def _blocks(shards: Shards, quantisation: int, block_rows: int) -> Iterator[list[SparseVectors]]:
    """Yield the parts of every block, whose passages may be in several files, with their impacts."""
    parts: list[SparseVectors] = []
    missing = block_rows
    for path, vectors in shards:
        start = 0
        while start < len(vectors):
            stop = min(start + missing, len(vectors))
            parts.append(quantise(vectors, quantisation, start, stop, path))
            missing -= stop - start
            start = stop
            if not missing:
                yield parts
                parts, missing = [], block_rows
    if parts:
        yield parts


def _joined(parts: list[SparseVectors]) -> SparseVectors:
    if len(parts) == 1:
        return parts[0]
    terms = type(parts[0].terms).joined([part.terms for part in parts], np.int64)
    return SparseVectors(terms, type(terms).joined([part.weights for part in parts], np.int64))


@dataclass
class _Tables:
    """What is known at the end of the file."""

    blocks: list[list[int]] = field(default_factory=list)
    frequency: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    largest: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, block: Block, places: list[int], checksum: int) -> None:
        terms, _, _, rows, impacts = block.arrays
        self.blocks.append([len(terms), len(rows), impacts.itemsize, block.highest, *places, checksum])
        if len(block.terms) and (size := int(block.terms[-1]) + 1) > len(self.frequency):
            self.frequency = np.pad(self.frequency, (0, size - len(self.frequency)))
            self.largest = np.pad(self.largest, (0, size - len(self.largest)))
        self.frequency[block.terms] += block.frequency
        self.largest[block.terms] = np.maximum(self.largest[block.terms], block.largest)

    def content(self) -> bytes:
        table = np.array(self.blocks, dtype="<i8").reshape(-1, len(TABLE))
        return table.tobytes() + np.stack([self.frequency, self.largest], axis=1).astype("<u4").tobytes()


def _write(file: io.BufferedIOBase, block: Block, tables: _Tables) -> None:
    place, places, checksum = file.tell(), [], 0
    for array in block.arrays:
        places.append(place)
        content = array.tobytes()
        is_last = array is block.arrays[-1]
        content += b"" if is_last else bytes(padding(len(content)))
        checksum = zlib.crc32(content, checksum)
        file.write(content)
        place += len(content)
    file.write(bytes(padding(place)))
    tables.add(block, places, checksum)


def write_postings(
    path: Path, shards: Shards, quantisation: int, threads: int = 1, block_rows: int = BLOCK_ROWS
) -> None:
    """Write a posting file; the vectors are in row order.

    Raises:
        InputError: a weight cannot be quantised, or the disk is full.
    """
    if not 0 < block_rows <= MOST_ROWS:
        raise ValueError(f"block_rows must be in 1..{MOST_ROWS}, got {block_rows}")
    passages = sum(len(vectors) for _, vectors in shards)
    term_bytes = max((min(4, vectors.terms.values.itemsize) for _, vectors in shards), default=2)
    tables = _Tables()
    with (
        naming_a_full_disk(path),
        path.open("wb") as file,
        ThreadPoolExecutor(threads) as pool,
        Progress("index", passages, "passages") as progress,
    ):
        file.write(bytes(HEADER_BYTES))
        blocks = _blocks(shards, quantisation, block_rows)
        for block in ordered(pool, lambda parts: make_block(_joined(parts), max(2, term_bytes)), blocks, threads):
            _write(file, block, tables)
            progress.reach(min(passages, len(tables.blocks) * block_rows))
        place, content = file.tell(), tables.content()
        file.write(content)
        sizes = block_rows, quantisation, passages, len(tables.frequency), len(tables.blocks), place
        header = HEADER.pack(MAGIC, VERSION, max(2, term_bytes), *sizes, place + len(content), zlib.crc32(content))
        file.seek(0)
        file.write(header)
