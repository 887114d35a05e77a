"""Comparisons: intervals of every measure, the paired tests that the recipe asks for, and the report's first answer.

The first answer is about the recipe's final stage: whether it is better than its control and than BM25.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.evaluation.significance import bootstrap, compare, holm
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.measures import MEASURES, first_of, within
from led_pipeline.recipe.schema import Evaluation

LEVEL, RESAMPLES = 0.95, 10_000

Tables = dict[str, dict[str, PerQuery]]  # split -> system -> measures per query
Pair = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What the report's first lines are about."""

    final: str
    """The recipe's last dense stage that was measured."""
    control: str | None
    """What it must be better than; None if nothing else was measured."""


def columns(evaluation: Evaluation) -> list[str]:
    """Return the measures of the tables: those of the recipe that its rankings are deep enough for."""
    return within(evaluation.depth, evaluation.measures)


def compared(evaluation: Evaluation) -> list[str]:
    """Return the measures of a paired comparison: all that the recipe names.

    Of the default measures, it is those at the top of a ranking, and its deepest recall.
    """
    measures = columns(evaluation)
    if evaluation.measures != list(MEASURES):
        return measures
    return [name for name in measures if name.endswith("@10")] + [m for m in measures if m.startswith("recall")][-1:]


def main_measure(recipe: Recipe, split: str) -> str:
    """Return the measure that a split is summed up by: MRR@10, with grades nDCG@10, or the recipe's first one."""
    graded = (recipe.dataset.splits[split].relevant_from or 1) > 1
    return first_of(recipe.evaluation.measures, *(("nDCG@10",) if graded else ("MRR@10", "nDCG@10")))


def read_tables(recipe: Recipe, results: Path) -> Tables:
    """Return the measures per query of every system that has them, for the judged splits that are evaluated."""
    tables: Tables = {}
    for split in recipe.dataset.judged(recipe.evaluation.splits):
        ranking = [name for name in needs.systems(recipe) if needs.ranks(recipe, name, split)]
        paths = {name: Path(Layout(results).measures_per_query(name, split)) for name in ranking}
        tables[split] = {name: read_per_query(path) for name, path in paths.items() if path.exists()}
    return tables


def answer(recipe: Recipe, measured: Collection[str]) -> Answer | None:
    """Return the stage that the report is about and its control; None if no stage was measured.

    The control is the second system of the first pair in `evaluation.compare` that begins with the stage, otherwise the
    stage that it starts from, otherwise BM25.
    """
    stages = [name for name in needs.ordered(recipe) if name in recipe.stages and name in measured]
    dense = [name for name in stages if recipe.stages[name].output == "dense"]
    if not stages:
        return None
    final = (dense or stages)[-1]
    pairs = [second for first, second in recipe.evaluation.compare if first == final]
    starts = [edge.source for edge in needs.edges(recipe, final) if edge.kind == "init"]
    return Answer(final, next((name for name in [*pairs, *starts, "bm25"] if name in measured and name != final), None))


def headline_pairs(about: Answer | None) -> list[Pair]:
    """Return the comparisons of the first answer: with the control and with BM25."""
    if about is None:
        return []
    return [(about.final, name) for name in dict.fromkeys([about.control, "bm25"]) if name and name != about.final]


def tests(
    recipe: Recipe, tables: Tables, pairs: Collection[Pair], measures: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the paired tests of some pairs of systems on every split where both were measured, not yet corrected.

    Args:
        measures: the one measure to test on each split; those of the recipe unless given.
    """
    entries = []
    for split, (first, second) in product(tables, pairs):
        if first in tables[split] and second in tables[split]:
            a, b = tables[split][first], tables[split][second]
            for measure in [measures[split]] if measures else compared(recipe.evaluation):
                test = compare(a, b, measure, seed=recipe.seed)
                entries.append({"split": split, "a": first, "b": second, "measure": measure, **asdict(test)})
    return entries


def with_intervals(recipe: Recipe, tables: Tables, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return tests with the interval of their difference, and p-values corrected for all of them."""
    corrected = holm([entry["p_randomisation"] for entry in entries])
    intervals: dict[int, list[float]] = {}
    for split, systems in tables.items():
        places = [i for i, entry in enumerate(entries) if entry["split"] == split]
        differences = [_differences(systems, entries[i]) for i in places]
        if differences:
            ends = bootstrap(np.array(differences).T, recipe.seed, RESAMPLES, LEVEL)
            intervals |= dict(zip(places, ends.tolist(), strict=True))
    return [
        {**entry, "interval": intervals[i], "p_holm": p}
        for i, (entry, p) in enumerate(zip(entries, corrected, strict=True))
    ]


def _differences(systems: Mapping[str, PerQuery], entry: Mapping[str, Any]) -> list[float]:
    a, b, name = systems[entry["a"]], systems[entry["b"]], entry["measure"]
    return [values[name] - b[qid][name] for qid, values in a.items()]


def intervals(recipe: Recipe, tables: Tables, split: str) -> dict[str, dict[str, list[float]]]:
    """Return the interval of every system's mean of every measure on a split."""
    systems, names = tables.get(split, {}), columns(recipe.evaluation)
    if not systems:
        return {}
    result = {}
    for system, table in systems.items():
        values = np.array([[row[name] for name in names] for row in table.values()])
        ends = bootstrap(values, recipe.seed, RESAMPLES, LEVEL)
        result[system] = dict(zip(names, ends.tolist(), strict=True))
    return result


def compare_all(recipe: Recipe, tables: Tables) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the tests of `evaluation.compare`, and the first answer with its own tests.

    Each of the two is a family of tests whose p-values are corrected together. The first answer has one measure per
    split, so that its few tests do not pay for all the others.
    """
    requested = tests(recipe, tables, list(dict.fromkeys((a, b) for a, b in recipe.evaluation.compare)))
    about = answer(recipe, {name for systems in tables.values() for name in systems})
    first = None
    if about:
        measures = {split: main_measure(recipe, split) for split in tables}
        pairs = tests(recipe, tables, headline_pairs(about), measures)
        first = asdict(about) | {"tests": with_intervals(recipe, tables, pairs), "level": LEVEL}
    return with_intervals(recipe, tables, requested), first
