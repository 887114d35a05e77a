"""A comparison of systems: everything that `led compare` computes, as JSON values and as text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from led_pipeline.columns import aligned
from led_pipeline.evaluation.significance import LEVEL, PERMUTATIONS, RESAMPLES
from led_pipeline.files.errors import InputError
from led_pipeline.inspection.comparing import (
    SEED,
    Side,
    Test,
    chosen_measures,
    chosen_pairs,
    chosen_split,
    differences_of_data,
    on_common_queries,
    sides_of,
    tests_of,
)
from led_pipeline.inspection.moved import Moved, Ranks, moved
from led_pipeline.inspection.runs import Run
from led_pipeline.report.examples import snippet
from led_pipeline.report.text import number, p_value, signed

Pair = tuple[Side, Side]


@dataclass(frozen=True)
class Request:
    """The options of a comparison."""

    systems: Sequence[str] = ()
    split: str | None = None
    measures: Sequence[str] = ()
    average: bool = False
    """Several runs repeat one recipe: average each query over them."""
    queries: int = 5
    """Queries to list in each direction and pair."""
    force: bool = False
    """Compare runs although their judgements or collections differ, on the queries that they share."""
    seed: int = SEED


def compare_runs(runs: Sequence[Run], request: Request) -> dict[str, Any]:
    """Compare systems and return everything that is printed.

    Raises:
        InputError: the runs do not compare, or a file is missing.
    """
    average = request.average or len(runs) > 2
    names = chosen_pairs(runs, request.systems, average)
    split = chosen_split(runs, request.split)
    notes = differences_of_data(runs, split)
    if notes and not request.force:
        raise InputError("\n".join([*notes, "results on different data do not compare; --force compares them anyway"]))
    pairs, left_out = on_common_queries(sides_of(runs, names, split, average))
    notes += [f"{left_out} queries that only some of them have are left out"] if left_out else []
    measures = chosen_measures(pairs, request.measures)
    sides = {side.label: side for pair in pairs for side in pair}
    lists = [moved(*pair, measures[0], split, request.queries) for pair in pairs] if request.queries else []
    return {
        "dataset": runs[0].recipe.dataset.name,
        "split": split,
        "queries": len(pairs[0][0].by_run[0]),
        "runs": [str(run.folder) for run in runs],
        "averaged": average and len(runs) > 1,
        "notes": notes,
        "measures": measures,
        "systems": {label: means(side, measures) for label, side in sides.items()},
        "by_run": _by_run(runs, sides, measures[0]) if average and len(runs) > 1 else {},
        "tests": [asdict(test) for test in tests_of(pairs, measures, request.seed)],
        "moved": [
            {"first": a.label, "second": b.label, "up": [asdict(m) for m in up], "down": [asdict(m) for m in down]}
            for (a, b), (up, down) in zip(pairs, lists, strict=bool(lists))
        ],
        "level": LEVEL,
        "resamples": RESAMPLES,
        "permutations": PERMUTATIONS,
        "seed": request.seed,
    }


def means(side: Side, measures: Sequence[str]) -> dict[str, float]:
    return {measure: float(np.mean(list(side.values(measure).values()))) for measure in measures}


def _by_run(runs: Sequence[Run], sides: dict[str, Side], measure: str) -> dict[str, dict[str, float]]:
    """Return each system's mean of a measure in each run."""
    return {
        str(run.folder): {
            label: float(np.mean([values[measure] for values in side.by_run[i].values()]))
            for label, side in sides.items()
        }
        for i, run in enumerate(runs)
    }


def comparison_text(result: dict[str, Any]) -> str:
    """Return a comparison as text for a terminal."""
    measures, tests = result["measures"], [Test(**test) for test in result["tests"]]
    runs = f", means of {len(result['runs'])} runs" if result["averaged"] else ""
    blocks = [f"{result['dataset']} {result['split']}: {result['queries']:,} queries{runs}"]
    blocks += [f"note: {note}" for note in result["notes"]]
    rows = [[label, *(number(values[m], 4) for m in measures)] for label, values in result["systems"].items()]
    blocks.append(aligned([["system", *measures], *rows]))
    if result["by_run"]:
        blocks.append(_run_table(result["by_run"], measures[0]))
    blocks.append(_test_table(tests, result["level"]))
    family = (
        "one test, so p is not corrected" if len(tests) == 1 else f"p (Holm): corrected for these {len(tests)} tests"
    )
    blocks.append(
        f"p: two-sided paired randomisation test over the queries, {result['permutations']:,} permutations; {family}.\n"
        f"Interval: {result['level']:.0%} of the mean difference over queries, {result['resamples']:,} bootstrap"
        f" resamples. Seed {result['seed']}."
    )
    for entry in result["moved"]:
        blocks.append(_moved_text(entry, measures[0]))
    return "\n\n".join(blocks) + "\n"


def _run_table(by_run: dict[str, dict[str, float]], measure: str) -> str:
    """Return each system's mean per run, and the standard deviation over the runs."""
    labels = list(next(iter(by_run.values())))
    rows = [[run, *(number(values[label], 4) for label in labels)] for run, values in by_run.items()]
    spread = [number(float(np.std([v[label] for v in by_run.values()], ddof=1)), 4) for label in labels]
    return aligned([[measure, *labels], *rows, ["standard deviation", *spread]])


def _test_table(tests: Sequence[Test], level: float) -> str:
    rows = [["first − second", "measure", "difference", f"{level:.0%} interval", "p", "p (Holm)", "better/worse/equal"]]
    for test in tests:
        low, high = test.interval
        rows.append(
            [
                f"{test.first} − {test.second}",
                test.measure,
                signed(test.difference, 4),
                f"{signed(low, 4)} to {signed(high, 4)}",
                p_value(test.p),
                p_value(test.p_holm),
                f"{test.better}/{test.worse}/{test.equal}",
            ]
        )
    return aligned(rows, left=2)


def _moved_text(entry: dict[str, Any], measure: str) -> str:
    """Return the queries that moved most, and the ranks of their first relevant passages."""
    rows = [["first", "second", measure, "query", ""]]
    for group in (entry["up"], entry["down"]):
        for query in (Moved(**values) for values in group):
            ranks = [_ranks(query.ranks_first), _ranks(query.ranks_second)]
            change = f"{number(query.first)} {number(query.second)}"
            rows.append([*ranks, change, query.qid, snippet(query.text, 100)])
    title = f"{entry['first']} − {entry['second']}: the queries with the largest differences"
    if len(rows) == 1:
        return f"{title}: none, both are equal on every query"
    width = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([*(cell.rjust(w) for cell, w in zip(row[:3], width, strict=False)), row[3].ljust(width[3]), row[4]])
        for row in rows
    ]
    remark = "first, second: the ranks of the first relevant passage in both rankings; –: not within their depth"
    return "\n".join([title, *(f"  {line.rstrip()}" for line in lines), f"  {remark}"])


def _ranks(ranks: Ranks) -> str:
    return ",".join("–" if rank is None else str(rank) for rank in ranks)
