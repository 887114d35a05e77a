"""Comparisons: intervals of every measure, the paired tests that the recipe asks for, and the report's first answer.

The first answer is about the recipe's final stage: whether it is better than its control and than BM25.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.evaluation.significance import LEVEL, RESAMPLES, bootstrap, compare, holm
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.measures import MEASURES, at_top, first_of, within
from led_pipeline.recipe.schema import Evaluation

Tables = dict[str, dict[str, PerQuery]]  # split -> system -> measures per query
Pair = tuple[str, str]
Job = tuple[str, Pair, str]  # split, systems, measure


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
    return at_top(measures)


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


def jobs(tables: Tables, pairs: Collection[Pair], measures: Mapping[str, Sequence[str]]) -> list[Job]:
    """Return the tests of some pairs of systems on every split where both were measured, in order.

    Args:
        measures: those to test on each split.
    """
    both = [(split, pair) for split, pair in product(tables, pairs) if set(pair) <= tables[split].keys()]
    return [(split, pair, measure) for split, pair in both for measure in measures[split]]


def test(recipe: Recipe, tables: Tables, job: Job) -> dict[str, Any]:
    """Return a paired test, not yet corrected and without the interval."""
    split, (first, second), measure = job
    result = compare(tables[split][first], tables[split][second], measure, seed=recipe.seed)
    return {"split": split, "a": first, "b": second, "measure": measure, **asdict(result)}


def corrected(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return tests with their p-values corrected for all of them."""
    values = holm([entry["p_randomisation"] for entry in entries])
    return [entry | {"p_holm": value} for entry, value in zip(entries, values, strict=True)]


def intervals(
    recipe: Recipe, systems: Mapping[str, PerQuery], entries: Sequence[Mapping[str, Any]] = ()
) -> tuple[dict[str, dict[str, list[float]]], list[list[float]]]:
    """Return the interval of every system's mean of every measure on a split, and of every test's difference.

    Args:
        systems: measures per query.
        entries: tests of these systems.
    """
    names = columns(recipe.evaluation)
    means: dict[str, dict[str, list[float]]] = {}
    differences: list[list[float]] = [[] for _ in entries]
    for group in _same_queries(systems):
        qids = list(systems[group[0]])
        values = {(name, m): np.array([systems[name][qid][m] for qid in qids]) for name in group for m in names}
        places = [i for i, entry in enumerate(entries) if entry["a"] in group]
        pairs = [values[e["a"], e["measure"]] - values[e["b"], e["measure"]] for e in map(entries.__getitem__, places)]
        ends = bootstrap(np.stack([*values.values(), *pairs], axis=1), recipe.seed, RESAMPLES, LEVEL).tolist()
        for (name, measure), interval in zip(values, ends, strict=False):
            means.setdefault(name, {})[measure] = interval
        for i, interval in zip(places, ends[len(values) :], strict=True):
            differences[i] = interval
    return means, differences


def _same_queries(systems: Mapping[str, PerQuery]) -> list[list[str]]:
    """Return the systems in groups that were measured on the same queries: all of them, as a rule."""
    groups: dict[frozenset[str], list[str]] = {}
    for name, table in systems.items():
        groups.setdefault(frozenset(table), []).append(name)
    return list(groups.values())


@dataclass(frozen=True)
class Compared:
    """What the report says about differences."""

    tests: list[dict[str, Any]]
    """Those of `evaluation.compare`."""
    first: dict[str, Any] | None
    """The first answer with its own tests; None if no stage was measured."""
    intervals: dict[str, dict[str, dict[str, list[float]]]]
    """Split -> system -> measure -> interval of the mean."""


def compare_all(recipe: Recipe, tables: Tables) -> Compared:
    """Compare what the recipe asks for, and the final stage with its control and BM25.

    Each of the two is a family of tests whose p-values are corrected together. The first answer has one measure per
    split, so that its few tests do not pay for all the others.
    """
    about = answer(recipe, {name for systems in tables.values() for name in systems})
    requested = dict.fromkeys((a, b) for a, b in recipe.evaluation.compare)
    table_jobs = jobs(tables, list(requested), dict.fromkeys(tables, compared(recipe.evaluation)))
    first_jobs = jobs(tables, headline_pairs(about), {split: [main_measure(recipe, split)] for split in tables})
    entries = {job: test(recipe, tables, job) for job in dict.fromkeys([*table_jobs, *first_jobs])}
    ends: dict[str, dict[str, dict[str, list[float]]]] = {}
    for split, systems in tables.items():
        of_split = [entry for entry in entries.values() if entry["split"] == split]
        ends[split], differences = intervals(recipe, systems, of_split)
        for entry, interval in zip(of_split, differences, strict=True):
            entry["interval"] = interval
    table, lines = (corrected([entries[job] for job in family]) for family in (table_jobs, first_jobs))
    return Compared(table, asdict(about) | {"tests": lines, "level": LEVEL} if about else None, ends)
