"""Read and write the examples of a trainset, which `trainset` draws and a training reads by row number."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import Ragged, read_arrow, shard_range, write_arrow

SCORE = "score_"  # before a teacher's name: its column


@dataclass(frozen=True)
class Trainset:
    """The examples of all epochs in the order of training; every epoch has the same number of them."""

    query: NDArray[np.int32]
    """Query row of each example."""
    passages: Ragged
    """Passage rows of each example: its positive, then its negatives; all lists have the same length C."""
    examples: int
    """Examples of one epoch."""
    texts: Ragged | None = None
    """Row of the first passage with the same text, for each of `passages`; None in files of older versions."""
    positives: Ragged | None = None
    """Texts of all positives of the example's query; None in files of older versions."""
    scores: Mapping[str, Ragged] = field(default_factory=dict)
    """Each teacher's scores of `passages`."""

    @classmethod
    def read(cls, path: Path) -> "Trainset":
        """Memory-map a trainset.

        Raises:
            InputError: the file cannot be read.
        """
        columns, metadata = read_arrow(path)
        scores = {name.removeprefix(SCORE): columns.ragged(name) for name in columns if name.startswith(SCORE)}
        texts, positives = (columns.ragged(name) if name in columns else None for name in ("texts", "positives"))
        examples = int(metadata["examples"])
        return cls(columns.flat("query"), columns.ragged("passages"), examples, texts, positives, scores)

    def write(self, path: Path) -> None:
        """Write the examples, atomically."""
        epochs = len(self.query) // self.examples
        columns: dict[str, Ragged | NDArray] = {
            "query": self.query,
            "epoch": np.repeat(np.arange(epochs, dtype=np.int16), self.examples),
            "passages": self.passages,
        }
        columns |= {"texts": self.texts} if self.texts is not None else {}
        columns |= {"positives": self.positives} if self.positives is not None else {}
        columns |= {f"{SCORE}{name}": column for name, column in self.scores.items()}
        write_arrow(path, columns, {"examples": str(self.examples)})

    def pairs(self, shard: int, shards: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the query row and the passage row of every pair of one shard of the examples, in order."""
        start, stop = shard_range(len(self.query), shard, shards)
        offsets = self.passages.offsets[start : stop + 1]
        query_rows = np.repeat(self.query[start:stop], np.diff(offsets))
        return query_rows, self.passages.values[offsets[0] : offsets[-1]]

    def with_scores(self, scores: Mapping[str, Ragged]) -> "Trainset":
        """Return the examples with further teachers' scores."""
        return replace(self, scores={**self.scores, **scores})


def matrix(column: Ragged, rows: NDArray[np.integer]) -> NDArray:
    """Return the lists of some rows, all of the same length C, as a matrix (rows, C)."""
    return np.stack([column[row] for row in rows])
