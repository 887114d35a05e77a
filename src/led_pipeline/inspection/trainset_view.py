"""Look at a stage's trainset: its counts and scores, and the examples of one query with their texts.

A trainset holds rows of passages. Where a negative came from is looked up in the pools of the stage's recipe, within
`negatives_depth`: the systems whose pools have it, and its rank there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.examples import Trainset
from led_pipeline.data.ragged import places
from led_pipeline.data.scores import key
from led_pipeline.data.tables import read_ranking
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.runs import Run, present
from led_pipeline.inspection.texts import Passage, Query, find_query, passages, queries

SAMPLE, WINDOWS = 2_000, 8  # query rows whose negatives are looked up in the pools, and the ranges that hold them
BLOCK = 200_000  # examples whose scores are read at once


@dataclass(frozen=True)
class Candidate:
    """A passage of an example."""

    passage: Passage
    positive: bool
    pools: dict[str, int]
    """The systems whose pools have it, with its rank there."""
    scores: dict[str, float]
    """By teacher."""


@dataclass(frozen=True)
class Example:
    """One example of a query in one epoch."""

    epoch: int
    """From 1."""
    row: int
    """Its place in the trainset, from 0."""
    candidates: list[Candidate]


def open_trainset(run: Run, stage: str) -> Trainset:
    """Memory-map a stage's trainset.

    Raises:
        InputError: the stage is not trained, or its trainset is not there.
    """
    run.check_name(stage, run.recipe.trained, "trained stage")
    path = Path(run.layout.trainset(stage))
    drawn = Path(run.layout.drawn(stage))
    if not path.is_file() and drawn.is_file():
        raise InputError(
            f"{path}: no such file, only {drawn} without the teachers' scores; let Snakemake finish it first"
        )
    return Trainset.read(present(str(path)))


def pools_of(run: Run, stage: str) -> dict[str, Path]:
    """Return the pools that a stage draws from and that are there, by system."""
    names = dict.fromkeys(run.recipe.model_stage(stage).negative_systems)
    return {name: Path(run.layout.pool(name)) for name in names if Path(run.layout.pool(name)).is_file()}


def ranks_in(pools: Mapping[str, Path], query: int, depth: int) -> dict[int, dict[str, int]]:
    """Return the passages of a query's pools: passage row -> system -> rank, from 1."""
    ranks: dict[int, dict[str, int]] = {}
    for name, path in pools.items():
        for _, rows, _ in read_ranking(path, query, query + 1):
            for rank, row in enumerate(rows[:depth].tolist(), 1):
                ranks.setdefault(row, {})[name] = rank
    return ranks


def examples_of(run: Run, stage: str, name: str) -> tuple[Query, list[Example]]:
    """Return a training query, by id or row, and its examples in all epochs.

    Raises:
        InputError: there is no such query, or it has no example.
    """
    trainset, query = open_trainset(run, stage), find_query(run, "train", name)
    rows_of_query = np.flatnonzero(trainset.query == query.row)
    if not len(rows_of_query):
        raise InputError(
            f"query '{query.qid}' is not in the trainset of {stage}: it has no negatives, or no positive passage"
            f" ({run.layout.drawn_note(stage)} counts dropped pairs)"
        )
    ranks = ranks_in(pools_of(run, stage), query.row, run.recipe.model_stage(stage).deepest)
    texts = passages(run, (int(row) for place in rows_of_query for row in trainset.passages[int(place)]))
    examples = []
    for place in rows_of_query.tolist():
        rows = trainset.passages[place].tolist()
        scores = {teacher: column[place].tolist() for teacher, column in trainset.scores.items()}
        candidates = [
            Candidate(
                texts[row], i == 0, ranks.get(row, {}), {teacher: column[i] for teacher, column in scores.items()}
            )
            for i, row in enumerate(rows)
        ]
        examples.append(Example(place // trainset.examples + 1, place, candidates))
    return query, examples


def scores_of(trainset: Trainset) -> dict[str, dict[str, float]]:
    """Return for every teacher the gap between a positive and its best negative, and how often the positive is first.

    `gap_low`, `gap_median` and `gap_high` are the quantiles 0.1, 0.5 and 0.9 over all examples.
    """
    statistics = {}
    for teacher, column in trainset.scores.items():
        width, gaps = int(column.lengths[0]), []
        for start in range(0, len(column), BLOCK):
            stop = min(start + BLOCK, len(column))
            block = column.values[column.offsets[start] : column.offsets[stop]].reshape(-1, width)
            gaps.append(block[:, 0] - block[:, 1:].max(axis=1))
        gap = np.concatenate(gaps)
        low, median, high = np.quantile(gap, [0.1, 0.5, 0.9]).tolist()
        first = float((gap >= 0).mean())
        statistics[teacher] = {"positive_first": first, "gap_low": low, "gap_median": median, "gap_high": high}
    return statistics


def windows(query_rows: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return ranges of query rows to sample: all rows if there are few, or else a few random ranges."""
    if query_rows <= SAMPLE:
        return [(0, query_rows)]
    length = SAMPLE // WINDOWS
    starts = sorted(random.permutation(query_rows // length)[:WINDOWS] * length)
    return [(int(start), int(start) + length) for start in starts]


def sources_of(run: Run, stage: str, trainset: Trainset, random: np.random.Generator) -> tuple[int, dict[str, float]]:
    """Return the number of sampled negatives, and the share of them that each pool has; several pools may have one.

    `none` has the share of those that no pool has any more, since pools or recipe changed after the draw.
    """
    pools, depth = pools_of(run, stage), run.recipe.model_stage(stage).deepest
    counts, total = dict.fromkeys([*pools, "none"], 0), 0
    for start, stop in windows(int(trainset.query.max()) + 1, random):
        examples = np.flatnonzero((trainset.query >= start) & (trainset.query < stop))
        passages_of = trainset.passages.take(examples).values.reshape(len(examples), -1)[:, 1:]
        drawn = key(np.repeat(trainset.query[examples], passages_of.shape[1]), passages_of.ravel())
        anywhere = np.zeros(len(drawn), dtype=bool)
        for name, path in pools.items():
            ranking = read_ranking(path, start, stop)
            lengths = np.minimum(ranking.passages.lengths, depth)
            rows = ranking.passages.values[places(ranking.passages.offsets[:-1], lengths)]
            inside = np.isin(drawn, key(np.repeat(ranking.queries, lengths), rows))
            counts[name] += int(inside.sum())
            anywhere |= inside
        counts["none"] += int((~anywhere).sum())
        total += len(drawn)
    return total, {name: count / max(total, 1) for name, count in counts.items()}


def trainset_overview(run: Run, stage: str, seed: int = 0, some: int = 3) -> dict[str, Any]:
    """Return the counts of a trainset, where its negatives come from, its teachers' scores, and some queries."""
    trainset = open_trainset(run, stage)
    random = np.random.default_rng(seed)
    width = int(trainset.passages.lengths[0])
    negatives = trainset.passages.values.reshape(-1, width)[:, 1:]
    note, judged = Path(run.layout.drawn_note(stage)), Path(run.layout.dropped_note(stage))
    examples = queries(run, "train", trainset.query[random.integers(0, len(trainset.query), some)].tolist())
    sampled, shares = sources_of(run, stage, trainset, random)
    return {
        "results": str(run.folder),
        "stage": stage,
        "examples": len(trainset.query),
        "epochs": len(trainset.query) // trainset.examples,
        "queries": len(np.unique(trainset.query)),
        "negatives_per_example": width - 1,
        "distinct_negatives": _distinct(negatives),
        "examples_with_a_negative_twice": int(_repeated(negatives)),
        "manifest": read_json(note) if note.is_file() else None,
        "judged": read_json(judged) if judged.is_file() and run.recipe.model_stage(stage).judge else None,
        "sampled_negatives": sampled,
        "sources": shares,
        "teachers": scores_of(trainset),
        "some_queries": [asdict(query) for query in examples.values()],
    }


def _distinct(negatives: NDArray[np.int32]) -> int:
    """Return the number of different passages."""
    seen_rows = np.zeros(int(negatives.max()) + 1, dtype=bool)
    for start in range(0, len(negatives), BLOCK):
        seen_rows[negatives[start : start + BLOCK]] = True
    return int(seen_rows.sum())


def _repeated(negatives: NDArray[np.int32]) -> int:
    """Return the number of examples with a negative twice: two pools have it, or there are too few candidates."""
    repeated = 0
    for start in range(0, len(negatives), BLOCK):
        block = np.sort(negatives[start : start + BLOCK], axis=1)
        repeated += int((block[:, 1:] == block[:, :-1]).any(axis=1).sum())
    return repeated
