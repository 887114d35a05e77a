"""Find the rows of ids without holding the ids in memory.

Memory holds 8 bytes per id (module `packed`): a hash and the row. The ids are in a temporary file, which is mapped and
read where a hash agrees, so that answers are exact. The file takes 8 bytes and the UTF-8 of each id on the disk.
"""

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from led_pipeline.data import packed
from led_pipeline.data.tables import read_ids

BLOCK = 65_536  # ids that are held as Python strings at once


def hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return Python's hash of each string, which differs between processes."""
    return np.fromiter(map(hash, ids), np.int64, len(ids)).view(np.uint64)


class IdTable:
    """Ids that are added row by row; after the last one, their rows, their repetitions, and all of them in order."""

    def __init__(self, folder: Path) -> None:
        """Open the temporary files in a folder; they have no name and are gone with the table."""
        self._text, self._offsets = (tempfile.TemporaryFile(dir=folder) for _ in range(2))  # noqa: SIM115
        self._offsets.write(np.zeros(1, dtype=np.int64).tobytes())
        self._bytes, self._hashes = 0, array("Q")
        self._sorted: tuple[packed.Entries, int, pa.Array] | None = None

    @classmethod
    def of(cls, path: Path, folder: Path) -> "IdTable":
        """Return the table of the ids of a Parquet file."""
        table = cls(folder)
        for _, column in read_ids(path):
            for chunk in column.chunks:
                table.add(chunk)
        return table

    def add(self, ids: pa.Array | list[str]) -> None:
        """Add the ids of the next rows."""
        if self._sorted is not None:
            raise ValueError("ids were looked up, so that no more can be added")
        strings = pa.array(ids, type=pa.large_string()) if isinstance(ids, list) else ids.cast(pa.large_string())
        for start in range(0, len(strings), BLOCK):
            part = strings.slice(start, BLOCK)
            offsets = np.frombuffer(part.buffers()[1], np.int64)[part.offset : part.offset + len(part) + 1]
            self._text.write(memoryview(part.buffers()[2] or b"")[offsets[0] : offsets[-1]])
            self._offsets.write((offsets[1:] - offsets[0] + self._bytes).tobytes())
            self._bytes += int(offsets[-1] - offsets[0])
            names = ids[start : start + BLOCK] if isinstance(ids, list) else part.to_pylist()
            self._hashes.frombytes(hashes(names).tobytes())

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        ids = self._table()[2]
        for start in range(0, len(ids), BLOCK):
            yield from ids.slice(start, BLOCK).to_pylist()

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id, the first one if it is repeated, and -1 for an id that is not in the table."""
        entries, bits, stored = self._table()
        strings, prefixes = pa.array(ids, type=pa.large_string()), packed.high(hashes(ids), bits)
        places, order = np.empty(len(ids), dtype=np.int64), np.argsort(prefixes)
        places[order] = np.searchsorted(entries, prefixes[order])  # in order, it finds its entries in the cache
        rows, pending = np.full(len(ids), -1, dtype=np.int64), np.arange(len(ids))
        while len(pending := pending[places[pending] < len(entries)]):
            entry = entries[places[pending]]
            agrees = packed.high(entry, bits) == prefixes[pending]
            pending, row = pending[agrees], packed.rows(entry[agrees], bits)
            equal = pc.equal(stored.take(pa.array(row)), strings.take(pa.array(pending)))
            matches = equal.to_numpy(zero_copy_only=False)
            rows[pending[matches]] = row[matches]
            pending = pending[~matches]
            places[pending] += 1
        return rows

    def has(self, ids: Iterable[str]) -> NDArray[np.bool_]:
        """Tell for each id whether it is in the table."""
        return self.rows(list(ids)) >= 0

    def repeated(self) -> set[str]:
        """Return the ids that several rows have; memory holds the ids of all rows whose hash has a twin."""
        entries, bits, stored = self._table()
        counts = Counter(stored.take(pa.array(packed.candidates(entries, bits))).to_pylist())
        return {name for name, count in counts.items() if count > 1}

    def _table(self) -> tuple[packed.Entries, int, pa.Array]:
        if self._sorted is None:
            entries = np.frombuffer(self._hashes, dtype=np.uint64)
            buffers = [None, _mapped(self._offsets), _mapped(self._text)]
            stored = pa.Array.from_buffers(pa.large_string(), len(entries), buffers)
            self._sorted = entries, packed.pack(entries), stored
        return self._sorted


def _mapped(file: BinaryIO) -> pa.Buffer:
    """Map a file that is not empty; the buffer of an empty file is empty."""
    file.flush()
    return pa.py_buffer(np.memmap(file, dtype=np.uint8, mode="r") if file.tell() else b"")
