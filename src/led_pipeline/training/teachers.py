"""Score a batch's passages for a teacher from its stored vectors; no model runs.

A query's own candidates have scores in the trainset. A teacher's score for another query's passage is the dot product
of its stored vectors.

# B = queries of the global batch, N = passages of the global batch
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.vectors import Rows, Vectors, all_products, check_same_kind, read_vectors
from led_pipeline.files.errors import InputError


@dataclass(frozen=True)
class StoredVectors:
    """One system's vectors of the training queries and of all passages, the latter in files in row order."""

    queries: Vectors
    passages: list[Vectors]

    @classmethod
    def read(cls, queries: Path, *passages: Path) -> "StoredVectors":
        """Map the files.

        Raises:
            InputError: some are dense (.npy) and some sparse (.arrow).
        """
        check_same_kind(queries, passages)
        return cls(read_vectors(queries), [read_vectors(path) for path in passages])

    def scores(self, query_rows: Rows, passage_rows: Rows) -> NDArray[np.float32]:
        """Return the dot product of every given query with every given passage, (B, N).

        Raises:
            InputError: a row has no vector.
        """
        for rows, count, kind in (
            (query_rows, len(self.queries), "query"),
            (passage_rows, sum(map(len, self.passages)), "passage"),
        ):
            if rows.max() >= count:
                raise InputError(
                    f"a teacher has {count} {kind} vectors, but the trainset names {kind} row {rows.max()}; make both"
                    " from the same prepared data"
                )
        return all_products(self.queries, self.passages, query_rows, passage_rows)
