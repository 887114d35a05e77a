"""Splits: the queries of a run with their judgements, read when they are first needed and kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from led_pipeline.data.tables import read_column
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.serve.once import Once
from led_pipeline.serve.tabular import Judgements


def one_line(text: str) -> str:
    """Return a text with every run of white space as one blank, as people type it."""
    return " ".join(text.split())


@dataclass(frozen=True)
class JudgedQuery:
    """A query of a split, and the grades of its judged passages by their ids."""

    split: str
    qid: str
    text: str
    grades: Mapping[str, int]
    relevant_from: int

    @property
    def relevant(self) -> list[str]:
        """Ids of the passages that count as relevant, the highest grades first."""
        return sorted((pid for pid, grade in self.grades.items() if grade >= self.relevant_from), key=self._order)

    def _order(self, pid: str) -> tuple[int, str]:
        return -self.grades[pid], pid


class Queries:
    """The queries of one split; `texts[row]` and `ids[row]` belong together."""

    def __init__(self, split: str, layout: Layout, relevant_from: int) -> None:
        table = Path(layout.queries(split))
        self.split = split
        self.relevant_from = relevant_from
        self.ids = read_column(table, "id")
        self.texts = read_column(table, "text")
        self._qrels = Path(layout.qrels(split))

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        return {qid: row for row, qid in enumerate(self.ids)}

    @cached_property
    def row_of_text(self) -> dict[str, int]:
        """The first row of each text."""
        return {one_line(text): row for row, text in reversed(list(enumerate(self.texts)))}

    @cached_property
    def lower_case(self) -> list[str]:
        return [text.lower() for text in self.texts]

    @cached_property
    def judgements(self) -> Judgements:
        """The judgements; none for a split without qrels."""
        return Judgements.read(self._qrels)

    def judged(self, row: int) -> JudgedQuery:
        """Return one query with its judgements."""
        qid = self.ids[row]
        return JudgedQuery(self.split, qid, self.texts[row], self.judgements.of_query(qid), self.relevant_from)


class Splits:
    """The splits of a run whose queries are on disk, those of the evaluation first."""

    def __init__(self, recipe: Recipe, layout: Layout) -> None:
        evaluated = recipe.evaluation.splits
        names = [*evaluated, *(name for name in recipe.dataset.splits if name not in evaluated)]
        self.names = [name for name in names if Path(layout.queries(name)).exists()]
        self.evaluated = [name for name in self.names if name in evaluated]
        self._of: Once[str, Queries] = Once(
            lambda name: Queries(name, layout, recipe.dataset.splits[name].relevant_from)
        )

    def queries(self, name: str) -> Queries:
        """Return the queries of a split.

        Raises:
            InputError: there is no such split.
        """
        if name not in self.names:
            there_are = ", ".join(self.names) or "none"
            raise InputError(f"no split '{name}' among the prepared ones of this run; there are: {there_are}")
        return self._of(name)

    def find(self, text: str, split: str | None = None, qid: str | None = None) -> JudgedQuery | None:
        """Return the query with this text: the one of that id if it has the text, else the first evaluated one."""
        line = one_line(text)
        if split in self.names and qid:
            queries = self.queries(split)
            row = queries.row_of_id.get(qid)
            if row is not None and one_line(queries.texts[row]) == line:
                return queries.judged(row)
        for name in self.evaluated:
            row = self.queries(name).row_of_text.get(line)
            if row is not None:
                return self.queries(name).judged(row)
        return None
