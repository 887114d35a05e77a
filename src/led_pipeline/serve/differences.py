"""Differences: how two systems measure on every query of a split, sorted, filtered and cut into pages.

The measures come from the evaluation's files per query; they are held as arrays, so that 100,000 queries sort in
milliseconds. A file that changes while the page runs is read again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from led_pipeline.recipe.layout import Layout
from led_pipeline.serve.once import Once
from led_pipeline.serve.splits import Queries
from led_pipeline.serve.tabular import read_measures

PAGE = 50  # queries of a page
PREFERRED = ("nDCG@10", "MRR@10")  # the measure to compare by, unless the reader chooses another

Order = Literal["difference", "first", "second", "file"]
ORDERS: tuple[Order, ...] = get_args(Order)
Values = dict[str, NDArray[np.float32]]  # measure -> value of each query of the split, nan where there is none


@dataclass(frozen=True)
class Comparison:
    """Two systems on one measure: a value for every query, in the order of the split."""

    a: NDArray[np.float32]
    b: NDArray[np.float32]

    @property
    def difference(self) -> NDArray[np.float32]:
        """How much better the second system is; nan for a query that is not measured."""
        return self.b - self.a

    @property
    def counts(self) -> tuple[int, int, int]:
        """The number of queries on which the first is better, on which they are equal, and the second is better."""
        difference = self.difference
        return int((difference < 0).sum()), int((difference == 0).sum()), int((difference > 0).sum())

    def order(self, order: Order) -> NDArray[np.intp]:
        """Return the rows of all queries in an order; among equals that of the file, those without a value last."""
        if order == "file":
            return np.arange(len(self.a))
        key = {"difference": np.abs(self.difference), "first": -self.difference, "second": self.difference}[order]
        return np.argsort(np.nan_to_num(-key, nan=np.inf), kind="stable")


@dataclass(frozen=True)
class QueryLine:
    """A line of the list."""

    qid: str
    text: str
    a: float | None
    b: float | None


@dataclass(frozen=True)
class Page:
    """One page of the list."""

    lines: list[QueryLine]
    number: int  # from 1
    pages: int
    matching: int  # queries that the filter lets through


class Differences:
    """The measures per query of every system that was evaluated."""

    def __init__(self, layout: Layout, depth: int) -> None:
        self._layout = layout
        self._depth = depth
        self._values: Once[tuple[Path, int, Queries], Values] = Once(_read)

    def values(self, system: str, queries: Queries) -> Values:
        """Return the measures of a system; none if it was not evaluated on the split."""
        path = Path(self._layout.measures_per_query(system, queries.split))
        return self._values((path, path.stat().st_mtime_ns, queries)) if path.exists() else {}

    def measures(self, a: str, b: str, queries: Queries) -> list[str]:
        """Return the measures that both systems have and that the depth of the runs allows, the preferred first."""
        common = [name for name in self.values(a, queries) if name in self.values(b, queries)]
        allowed = [name for name in common if _cut(name) <= self._depth]
        return sorted(allowed, key=lambda name: PREFERRED.index(name) if name in PREFERRED else len(PREFERRED))

    def compare(self, a: str, b: str, measure: str, queries: Queries) -> Comparison:
        """Compare two systems on a measure that both have."""
        return Comparison(self.values(a, queries)[measure], self.values(b, queries)[measure])


def _cut(measure: str) -> int:
    cut = measure.partition("@")[2]
    return int(cut) if cut.isdigit() else 0


def _read(key: tuple[Path, int, Queries]) -> Values:
    path, _, queries = key
    ids, measured = read_measures(path)
    # Mostly the queries are those of the split in its order; otherwise each is looked up.
    if ids == queries.ids:
        return measured
    rows = np.array([queries.row_of_id.get(qid, -1) for qid in ids], dtype=np.int64)
    values: Values = {}
    for name, column in measured.items():
        values[name] = np.full(len(queries.ids), np.nan, dtype=np.float32)
        values[name][rows[rows >= 0]] = column[rows >= 0]
    return values


def page(queries: Queries, comparison: Comparison | None, order: Order, words: str, number: int) -> Page:
    """Return one page of the queries that contain all words; a number beyond the last page gives the last.

    Args:
        comparison: None leaves the order of the file, and no values.
    """
    rows = comparison.order(order).tolist() if comparison else range(len(queries.ids))
    if parts := words.lower().split():
        texts, ids = queries.lower_case, queries.ids
        rows = [row for row in rows if all(part in texts[row] for part in parts) or ids[row] == words.strip()]
    pages = max(1, -(-len(rows) // PAGE))
    number = min(max(1, number), pages)
    lines = []
    for row in rows[(number - 1) * PAGE : number * PAGE]:
        a, b = (_value(values, row) for values in (comparison.a, comparison.b)) if comparison else (None, None)
        lines.append(QueryLine(queries.ids[row], queries.texts[row], a, b))
    return Page(lines, number, pages, len(rows))


def _value(values: NDArray[np.float32], row: int) -> float | None:
    return None if np.isnan(values[row]) else float(values[row])
