"""Tabular: the tab-separated files of a run as columns of Arrow, many times faster than line by line.

A file that is not as the pipeline writes it goes to its strict reader, which names the line at fault, or accepts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.evaluation.evaluate import read_per_query


@dataclass(frozen=True)
class Judgements:
    """The judgements of a split; a look-up compares all of them, which takes milliseconds."""

    table: pa.Table
    """Columns qid and pid: string; grade: int64."""

    @classmethod
    def read(cls, path: Path) -> "Judgements":
        """Read prepared qrels; a file that does not exist has no judgements.

        Raises:
            InputError: the file is damaged.
        """
        if not path.exists() or not path.stat().st_size:
            return cls.of({})
        types = {"qid": pa.string(), "zero": pa.string(), "pid": pa.string(), "grade": pa.int64()}
        table = _columns(path, types, list(types))
        return cls.of(load_qrels(path)) if table is None else cls(table.drop_columns(["zero"]))

    @classmethod
    def of(cls, grades: Mapping[str, Mapping[str, int]]) -> "Judgements":
        """Return judgements by query id and passage id as a table."""
        rows = [(qid, pid, grade) for qid, judged in grades.items() for pid, grade in judged.items()]
        qids, pids, values = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(
            pa.table(
                {
                    "qid": pa.array(qids, pa.string()),
                    "pid": pa.array(pids, pa.string()),
                    "grade": pa.array(values, pa.int64()),
                }
            )
        )

    def of_query(self, qid: str) -> dict[str, int]:
        """Return the grades of a query's passages by their ids."""
        rows = self.table.filter(pc.equal(self.table["qid"], qid))
        return dict(zip(rows["pid"].to_pylist(), rows["grade"].to_pylist(), strict=True))

    def of_passage(self, pid: str) -> list[tuple[str, int]]:
        """Return the queries that judge a passage, with their grades."""
        rows = self.table.filter(pc.equal(self.table["pid"], pid))
        return list(zip(rows["qid"].to_pylist(), rows["grade"].to_pylist(), strict=True))


def read_measures(path: Path) -> tuple[list[str], dict[str, NDArray[np.float32]]]:
    """Return the query ids of a file of measures per query, and each measure's values.

    Raises:
        InputError: the file is damaged.
    """
    table = _columns(path, {"qid": pa.string()})
    if table is not None and table.column_names[:1] == ["qid"]:
        ids: list[str] = table["qid"].to_pylist()
        columns = {name: table[name] for name in table.column_names[1:]}
        if all(pa.types.is_floating(column.type) or pa.types.is_integer(column.type) for column in columns.values()):
            values = {name: column.to_numpy().astype(np.float32) for name, column in columns.items()}
            if all(((column >= 0) & (column <= 1)).all() for column in values.values()):
                return ids, values
    measured = read_per_query(path)
    names = list(next(iter(measured.values()), {}))
    return list(measured), {name: np.array([v[name] for v in measured.values()], dtype=np.float32) for name in names}


def _columns(path: Path, types: Mapping[str, pa.DataType], names: list[str] | None = None) -> pa.Table | None:
    """Return a tab-separated file as a table; None if Arrow cannot read it, or reads a value as missing.

    Args:
        names: those of the columns; None: the first line has them.
    """
    reading = csv.ReadOptions(column_names=names)
    parsing = csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False)
    converting = csv.ConvertOptions(column_types=dict(types), strings_can_be_null=False)
    try:
        table = csv.read_csv(path, reading, parsing, converting)
    except (pa.ArrowException, OSError):
        return None
    return table if not any(column.null_count for column in table.columns) else None
