"""Passages: ids, titles and texts by row, read by row group when they are needed."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from led_pipeline.data.opened import parquet
from led_pipeline.use.records import Passage

CACHED_BYTES = 256_000_000  # of texts in memory


class Passages:
    """The prepared collection. Ids stay in memory once they are read; of the texts, the row groups read last.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, path: Path):
        self._path = path
        with parquet(path) as file:
            groups = range(file.num_row_groups)
            self._starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in groups)])
        self._ids: dict[int, pa.ChunkedArray] = {}
        self._texts: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def passage(self, row: int) -> Passage:
        """Return the passage of a row.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} passages")
        group, place = self._place(row)
        with self._lock:
            texts = self._group_texts(group)
            name = self._group_ids(group)[place].as_py()
        return Passage(row, name, texts["title"][place].as_py(), texts["text"][place].as_py())

    def ids(self, rows: NDArray[np.int32]) -> list[str]:
        """Return the ids of some rows."""
        places = [self._place(row) for row in rows.tolist()]
        with self._lock:
            return [self._group_ids(group)[place].as_py() for group, place in places]

    def row_of(self, pid: str) -> int | None:
        """Return the row of an id; None if no passage has it. The first call reads all ids."""
        with self._lock:
            for group, start in enumerate(self._starts[:-1].tolist()):
                place = pc.index(self._group_ids(group), pid).as_py()
                if place >= 0:
                    return int(start + place)
        return None

    def _place(self, row: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        return group, row - int(self._starts[group])

    def _group_ids(self, group: int) -> pa.ChunkedArray:
        if group not in self._ids:
            with parquet(self._path) as file:
                self._ids[group] = file.read_row_group(group, columns=["id"])["id"]
        return self._ids[group]

    def _group_texts(self, group: int) -> pa.Table:
        if group not in self._texts:
            with parquet(self._path) as file:
                self._texts[group] = file.read_row_group(group, columns=["title", "text"])
            while len(self._texts) > 1 and sum(table.nbytes for table in self._texts.values()) > CACHED_BYTES:
                self._texts.popitem(last=False)
        self._texts.move_to_end(group)
        return self._texts[group]
