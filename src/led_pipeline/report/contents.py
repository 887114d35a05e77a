"""Everything that a report is made of, read from the files of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from led_pipeline.evaluation.published import load_published
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.report.colours import colours
from led_pipeline.report.comparisons import Answer, Tables, main_measure, read_tables
from led_pipeline.report.data import gather, train_logs
from led_pipeline.report.log import TrainLog
from led_pipeline.report.queries import Queries, read_queries


@dataclass(frozen=True)
class Report:
    """Everything that a page is made of."""

    recipe: Recipe
    results: Path
    metrics: dict[str, Any]
    logs: dict[str, TrainLog]
    queries: Queries | None
    several: dict[str, Any] | None = None
    """What `led compare` says about several runs of the recipe."""

    @property
    def split(self) -> str | None:
        """The first judged split, which charts are about."""
        return next(iter(self.recipe.dataset.judged(self.recipe.evaluation.splits)), None)

    @property
    def answer(self) -> Answer | None:
        first = self.metrics["headline"]
        return Answer(first["final"], first["control"]) if first else None

    @property
    def colours(self) -> dict[str, str]:
        return colours([*needs.systems(self.recipe), *needs.order(self.recipe)], self.answer)


def read_report(recipe: Recipe, results: Path, published: Path | None, several: dict[str, Any] | None = None) -> Report:
    """Read everything that a run has left."""
    logs, tables = train_logs(recipe, results), read_tables(recipe, results)
    metrics = gather(recipe, results, load_published(published) if published else [], logs, tables)
    return Report(recipe, results, metrics, logs, first_queries(recipe, results, tables), several)


def first_queries(recipe: Recipe, results: Path, tables: Tables) -> Queries | None:
    """Return the queries of the first judged split."""
    for split, systems in tables.items():
        return read_queries(recipe, results, split, main_measure(recipe, split), systems)
    return None
