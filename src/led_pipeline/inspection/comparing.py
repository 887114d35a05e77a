"""Compare systems of one run, or of several runs of one dataset, on the same queries.

Several runs that repeat a recipe (seeds) are averaged query by query before the tests, so that one query counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.evaluation.significance import LEVEL, PERMUTATIONS, RESAMPLES, bootstrap, compare, holm
from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.runs import Run, present
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.measures import at_top

SEED = 42


@dataclass(frozen=True)
class Side:
    """A system of one run, or the mean of one system over several runs."""

    label: str
    system: str
    runs: tuple[Run, ...]
    by_run: tuple[PerQuery, ...]
    """Its measures in each run, for the same queries in the same order."""

    def values(self, measure: str) -> dict[str, float]:
        """Return each query's value of a measure, averaged over the runs."""
        return {qid: float(np.mean([run[qid][measure] for run in self.by_run])) for qid in self.by_run[0]}


@dataclass(frozen=True)
class Test:
    """A paired test of two systems on one measure; positive differences favour the first one."""

    first: str
    second: str
    measure: str
    mean_first: float
    mean_second: float
    difference: float
    interval: tuple[float, float]
    """Of the mean difference over queries, by the bootstrap."""
    p: float
    p_holm: float
    better: int
    worse: int
    equal: int


def chosen_pairs(runs: Sequence[Run], systems: Sequence[str], average: bool) -> list[tuple[str, str]]:
    """Return the pairs of systems to compare, within a run or between two; those of the recipe by default.

    Raises:
        InputError: a run has no such system, or there is nothing to compare.
    """
    for run in runs:
        for name in systems:
            run.check_name(name, run.systems, "system")
    if len(runs) == 2 and not average:
        common = [name for name in runs[0].systems if name in runs[1].systems]
        if not common:
            raise InputError(f"{runs[0].folder} and {runs[1].folder} have no system with the same name")
        return [(name, name) for name in systems or common]
    if len(systems) == 1:
        raise InputError(f"there is only '{systems[0]}' to compare; name a second system or a second results folder")
    if systems:
        return list(combinations(dict.fromkeys(systems), 2))
    pairs = [pair for pair in runs[0].recipe.evaluation.compare if all(set(pair) <= set(run.systems) for run in runs)]
    if not pairs:
        raise InputError(
            f"{runs[0].folder}: its recipe has no evaluation.compare; name the systems to compare, some of"
            f" {', '.join(runs[0].systems)}"
        )
    return pairs


def chosen_split(runs: Sequence[Run], split: str | None) -> str:
    """Return the split to compare on: the first that the recipe evaluates unless one is named."""
    lists = [run.recipe.dataset.judged(run.recipe.evaluation.splits) for run in runs]
    splits = [name for name in lists[0] if all(name in names for names in lists)]
    if split is None and not splits:
        raise InputError(f"{' and '.join(str(run.folder) for run in runs)}: no split that all of them evaluate")
    for run, names in zip(runs, lists, strict=True):
        run.check_name(split or splits[0], names, "evaluated split")
    return split or splits[0]


def differences_of_data(runs: Sequence[Run], split: str) -> list[str]:
    """Return how the judgements or the collections of the runs differ, a sentence each; empty if results compare."""
    first, faults = runs[0], []
    qrels = Path(present(first.layout.qrels(split)))
    for other in runs[1:]:
        theirs_path = present(other.layout.qrels(split))
        if digest(qrels) != digest(theirs_path):
            a, b = load_qrels(qrels), load_qrels(theirs_path)
            shared = a.keys() & b.keys()
            only = [
                f"{len(side)} only in {run.folder}{_some(side)}"
                for side, run in ((sorted(a.keys() - shared), first), (sorted(b.keys() - shared), other))
                if side
            ]
            changed = sum(a[qid] != b[qid] for qid in shared)
            only += [f"{changed} with other judgements"] if changed else []
            if only:
                faults.append(f"the queries of '{split}' differ: {', '.join(only)}")
        if _collection(first) != _collection(other):
            faults.append(f"{first.folder} and {other.folder} have different collections (prepared/passages.json)")
        grades = [run.recipe.dataset.splits[split].relevant_from for run in (first, other)]
        if grades[0] != grades[1]:
            faults.append(
                f"dataset.splits.{split}.relevant_from is {grades[0]} in {first.folder} and {grades[1]} in"
                f" {other.folder}"
            )
    return faults


def _some(qids: Sequence[str]) -> str:
    return f" ({', '.join(qids[:3])}{', ...' if len(qids) > 3 else ''})"


def _collection(run: Run) -> Any:
    """Return what decides the passages of a run: the checksums of the files, and how they were read."""
    note = read_json(present(run.layout.prepared_note("passages")))
    return [entry["sha256"] for entry in note["inputs"]], note["counts"], note["template"], note["repair_encoding"]


def read_side(label: str, system: str, runs: Sequence[Run], split: str) -> Side:
    """Read a system's measures per query in each run."""
    tables = []
    for run in runs:
        path = Path(run.layout.measures_per_query(system, split))
        if not path.is_file():
            raise InputError(f"{path}: no such file, so '{system}' is not evaluated; run Snakemake to its end first")
        tables.append(read_per_query(path))
    return Side(label, system, tuple(runs), tuple(tables))


def sides_of(
    runs: Sequence[Run], pairs: Sequence[tuple[str, str]], split: str, average: bool
) -> list[tuple[Side, Side]]:
    """Return the two sides of every pair, each read once."""
    if len(runs) == 2 and not average:
        names = [str(run.folder) for run in runs]
        names = [run.folder.name for run in runs] if len({run.folder.name for run in runs}) == 2 else names
        return [
            (
                read_side(f"{system} ({names[0]})", system, runs[:1], split),
                read_side(f"{system} ({names[1]})", system, runs[1:], split),
            )
            for system, _ in pairs
        ]
    sides = {name: read_side(name, name, runs, split) for name in dict.fromkeys(n for pair in pairs for n in pair)}
    return [(sides[first], sides[second]) for first, second in pairs]


def on_common_queries(pairs: Sequence[tuple[Side, Side]]) -> tuple[list[tuple[Side, Side]], int]:
    """Return the sides restricted to the queries that all of them have, and the number of queries left out."""
    tables = [table for pair in pairs for side in pair for table in side.by_run]
    common = set.intersection(*(set(table) for table in tables))
    if not common:
        raise InputError("no query is in all of them, so there is nothing to compare")
    everything = set.union(*(set(table) for table in tables))
    order = [qid for qid in tables[0] if qid in common]

    def restricted(side: Side) -> Side:
        by_run = tuple({qid: table[qid] for qid in order} for table in side.by_run)
        return Side(side.label, side.system, side.runs, by_run)

    return [(restricted(a), restricted(b)) for a, b in pairs], len(everything - common)


def chosen_measures(pairs: Sequence[tuple[Side, Side]], measures: Sequence[str]) -> list[str]:
    """Return the measures to compare: those at the top of a ranking and the deepest recall unless some are named.

    Raises:
        InputError: a measure was not computed, or the rankings do not reach its cut-off.
    """
    sides = [side for pair in pairs for side in pair]
    depth = min(run.recipe.evaluation.depth for side in sides for run in side.runs)
    tables = [table for side in sides for table in side.by_run]
    computed = [name for name in next(iter(tables[0].values())) if all(name in next(iter(t.values())) for t in tables)]
    within = [name for name in computed if not name.partition("@")[2].isdigit() or int(name.partition("@")[2]) <= depth]
    for name in measures:
        if name not in within:
            why = f", since rankings end at {depth}" if name in computed else ""
            raise InputError(
                f"--measure {name}: not computed{why}{nearest(name, within)}; there are {', '.join(within)}"
            )
    return list(dict.fromkeys(measures)) or at_top(within)


def tests_of(pairs: Sequence[tuple[Side, Side]], measures: Sequence[str], seed: int = SEED) -> list[Test]:
    """Test every pair on every measure; Holm's correction is over all of these tests."""
    columns, results = [], []
    for first, second in pairs:
        for measure in measures:
            a, b = first.values(measure), second.values(measure)
            one, other = ({qid: {measure: value} for qid, value in side.items()} for side in (a, b))
            results.append((first, second, measure, compare(one, other, measure, seed, PERMUTATIONS)))
            columns.append([a[qid] - b[qid] for qid in a])
    intervals = bootstrap(np.array(columns).T, seed, RESAMPLES, LEVEL)
    corrected = holm([result.p_randomisation for *_, result in results])
    return [
        Test(
            first.label,
            second.label,
            measure,
            result.mean_a,
            result.mean_b,
            result.difference,
            (float(low), float(high)),
            result.p_randomisation,
            p_holm,
            result.wins,
            result.losses,
            result.ties,
        )
        for (first, second, measure, result), (low, high), p_holm in zip(results, intervals, corrected, strict=True)
    ]
