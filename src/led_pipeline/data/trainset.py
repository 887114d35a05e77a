"""Trainset: everything that a stage will train on, decided in advance.

Run as `python -m led_pipeline.data.trainset draw ...` to draw the negatives of every epoch from the pools, and as
`python -m led_pipeline.data.trainset join ...` to add the teachers' scores.

An example is one judged (query, positive) pair whose query has negatives. Each epoch visits the examples in a new
order, in which no batch holds a query twice where that is possible (module `order`), and draws new negatives. Rules of
LED: the systems' pools are concatenated, so a passage that two systems found is twice as likely; more than N entries: N
of them without replacement; exactly N: all; fewer: the list is cycled.

Every example carries the texts of all positives of its query (module `same_text`), by which a training finds the
positives among the passages of its batches.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.candidates import Candidates, above
from led_pipeline.data.examples import Trainset
from led_pipeline.data.opened import matrix
from led_pipeline.data.order import batch_rows, repeats, shuffled, steps_per_epoch, total_steps
from led_pipeline.data.pools import judged_grades
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.same_text import first_rows, positives_elsewhere
from led_pipeline.data.scores import key
from led_pipeline.data.tables import count_rows
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.settings import Schedule
from led_pipeline.recipe.step_settings import TrainsetSettings, parser_of
from led_pipeline.recipe.values import LABELS


def draw(candidates: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw the positions of `count` negatives among the entries of one query's candidates, by LED's rules.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to draw from")
    if candidates > count:
        return random.choice(candidates, size=count, replace=False, shuffle=False)
    return np.resize(np.arange(candidates), count)


def window(candidates: int, count: int, epoch: int, seed: int, query: int) -> NDArray[np.int64]:
    """Draw the positions of `count` negatives by OpenMatch's rule: one order per query, a window that moves by epoch.

    The window wraps; where there are fewer candidates than `count`, it goes round (OpenMatch draws with replacement).
    """
    if not candidates:
        raise ValueError("no candidate to draw from")
    order = np.random.default_rng([seed, query]).permutation(candidates)
    return order[(epoch * count + np.arange(count)) % candidates]


def positives(qrels: Path, queries: Path, passages: Path, from_grade: int | str = 1) -> NDArray[np.int32]:
    """Return the (query row, passage row) of every positive, sorted.

    Args:
        from_grade: the lowest grade of a positive, or "highest" for each query's own highest, if that is above 0.
    """
    rows = []
    for query, grades in judged_grades(qrels, queries, passages).items():
        least = max(1, *grades.values()) if from_grade == "highest" else from_grade
        rows += [(query, passage) for passage, grade in grades.items() if grade >= least]
    return np.array(sorted(rows), dtype=np.int32).reshape(-1, 2)


def draw_trainset(
    pairs: NDArray[np.int32],
    candidates: Candidates,
    settings: TrainsetSettings,
    out: Path,
    relevant: NDArray[np.int32] | None = None,
) -> None:
    """Write the examples of every epoch that training will reach, and a manifest beside them.

    The pools are read twice: for the numbers of candidates, from which positions are drawn, and for the passages there.
    Memory holds the examples and the candidates of some queries.

    Args:
        pairs: (query row, passage row) of the positives to train on, sorted by query.
        relevant: the pairs whose texts are no negatives of the query in a batch either; `pairs` unless given.
    """
    rows = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    available = np.concatenate([found.lengths for _, _, found in candidates.blocks(rows)] or [[]])
    usable = pairs[available[pairs[:, 0]] > 0] if len(pairs) else pairs
    if not len(usable):
        raise InputError(
            f"{out}: no judged query has negatives; check that the pools belong to the split 'train', and where"
            " `labels` is the only one, that passages are judged below the positives"
        )
    queries, passages, examples = _epochs(usable, available, settings)
    _look_up(queries, passages, candidates, rows)
    texts = candidates.texts_of(passages)
    positive_texts = _by_query(pairs if relevant is None else relevant, candidates, rows).take(queries)
    epochs, count = len(queries) // examples, passages.shape[1]
    offsets = np.arange(len(queries) + 1, dtype=np.int64) * count
    rows_of = Ragged(passages.ravel(), offsets), Ragged(texts.ravel(), offsets)
    Trainset(queries, rows_of[0], examples, rows_of[1], positive_texts).write(out)
    manifest = {
        "examples_per_epoch": examples,
        "epochs": epochs,
        "negatives_per_query": count - 1,
        "dropped_without_negatives": len(pairs) - len(usable),
        "queries": len(np.unique(usable[:, 0])),
        "seed": settings.seed,
        **_batches(queries, texts, positive_texts, examples, settings),
    }
    write_json(out.with_suffix(".json"), manifest)
    print(json.dumps(manifest))


def _epochs(
    usable: NDArray[np.int32], available: NDArray[np.int64], settings: TrainsetSettings
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return the queries of all epochs' examples, their positives followed by drawn positions, and an epoch's examples.

    Args:
        usable: the positive pairs that have negatives.
        available: how many candidates each query row has.
    """
    count, seed = settings.negatives_per_query, settings.seed
    one = settings.positives_per_epoch == "one"
    examples = len(np.unique(usable[:, 0])) if one else len(usable)
    size = min(settings.batch_size, examples)
    epochs = -(-total_steps(examples, settings) // steps_per_epoch(examples, size))
    random = np.random.default_rng(seed)
    moving = settings.sampling == "window"
    queries = np.empty(epochs * examples, dtype=np.int32)
    passages = np.empty((len(queries), count + 1), dtype=np.int32)
    for epoch in range(epochs):
        pairs_now = one_each(usable, random) if one else usable
        ordered = pairs_now[shuffled(pairs_now[:, 0], size, random)]
        for i, (query, positive) in enumerate(ordered.tolist(), epoch * examples):
            queries[i] = query
            passages[i, 0] = positive
            there = int(available[query])
            passages[i, 1:] = window(there, count, epoch, seed, query) if moving else draw(there, count, random)
    return queries, passages, examples


def _by_query(pairs: NDArray[np.int32], candidates: Candidates, rows: int) -> Ragged:
    """Return the texts of every query's passages in some pairs, each once, for the query rows from 0 to `rows`."""
    texts = np.unique(np.stack([pairs[:, 0], candidates.texts_of(pairs[:, 1])], axis=1), axis=0)
    return Ragged(texts[:, 1].copy(), np.searchsorted(texts[:, 0], np.arange(rows + 1)))


def _batches(
    queries: NDArray[np.int32], texts: NDArray[np.int32], positives: Ragged, examples: int, schedule: Schedule
) -> dict[str, int]:
    """Return for the manifest what the batches of the training hold.

    Counted are all steps: the pairs of a query and a passage of its batch other than its own positive, those among them
    whose passage is a positive of the query (`same_text.positives_elsewhere`), and the queries that have such a one.
    """
    size, asked = min(schedule.batch_size, examples), schedule.batch_size
    steps, negatives, wrong, touched = total_steps(examples, schedule), 0, 0, 0
    for step in range(steps):
        rows = batch_rows(step, examples, size)
        found = positives_elsewhere(texts[rows], positives.take(rows))
        negatives += found.size - len(rows)
        wrong += int(found.sum())
        touched += int(found.any(axis=1).sum())
    epochs = range(0, len(queries), examples)
    twice = sum(repeats(queries[start : start + examples], size) for start in epochs)
    if size < asked:
        print(f"batch_size: {asked} is more than the {examples} examples of an epoch, so batches hold {size}")
    if twice:
        print(f"{twice:,} batches hold a query twice, since it has more examples in an epoch than there are batches")
    return {
        "batch_size": size,
        "batches_with_a_query_twice": twice,
        "negatives_in_batches": negatives,
        "positives_among_them": wrong,
        "queries_with_positives_among_them": touched,
        "queries_in_batches": steps * size,
    }


def one_each(pairs: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
    """Return a random one of each query's pairs, which stand together."""
    _, first, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    return pairs[first + random.integers(0, counts)]


def _look_up(queries: NDArray[np.int32], passages: NDArray[np.int32], candidates: Candidates, rows: int) -> None:
    """Replace the drawn positions, which follow each example's positive, by the passages there."""
    order = np.argsort(queries, kind="stable")
    for start, stop, found in candidates.blocks(rows):
        low, high = np.searchsorted(queries, [start, stop], sorter=order)
        here = order[low:high]
        passages[here, 1:] = found.values[found.offsets[queries[here] - start][:, None] + passages[here, 1:]]


def join(drawn: Path, teachers: dict[str, list[Path]], out: Path) -> None:
    """Add every teacher's scores, which are npy shards in the order of the passages."""
    trainset = Trainset.read(drawn)
    passages, columns = trainset.passages, {}
    for name, shards in teachers.items():
        parts = [matrix(path) for path in shards]
        scores = np.concatenate(parts).astype(np.float32, copy=False)
        if len(scores) != len(passages.values) or not np.isfinite(scores).all():
            raise InputError(
                f"{shards[0]}: {len(passages.values)} finite scores of teacher '{name}' expected, got {len(scores)}"
            )
        columns[name] = Ragged(scores, passages.offsets)
    trainset.with_scores(columns).write(out)


def sources(
    a: argparse.Namespace, settings: TrainsetSettings
) -> tuple[NDArray[np.int32], Candidates, NDArray[np.int32]]:
    """Return what the command line of `draw` names: positive pairs, candidates, and pairs that are no negatives."""
    if bool(a.positives) != bool(settings.more_positives):
        raise InputError("--positives: a ranking and the key more_positives in --settings go together; give both")
    pairs = positives(a.qrels, a.queries, a.passages, settings.positive_from)
    if settings.more_positives:
        scored = above(a.positives, count_rows(a.queries), settings.more_positives.min_score)
        pairs = np.unique(np.concatenate([pairs, scored]), axis=0)
    which = [None if isinstance(source, str) else source for source in settings.negatives]
    judged = LABELS in settings.negative_systems
    texts = first_rows(a.passages)
    # Unless one of these adds to them, the pools are without any positive already.
    excluded = np.unique(key(pairs[:, 0], texts[pairs[:, 1]])) if a.positives or judged else None
    depth, unique = settings.negatives_depth, settings.deduplicate
    found = Candidates(a.pools, depth, unique, a.scored, which, settings.seed, excluded, texts)
    # Passages judged below the positives are no negatives, unless the recipe takes such.
    relevant = pairs if judged else np.concatenate([pairs, positives(a.qrels, a.queries, a.passages)])
    return pairs, found, relevant


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a stage's trainset.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the negatives of every epoch")
    for name in ("queries", "passages", "qrels"):
        drawing.add_argument(f"--{name}", required=True, type=Path)
    drawing.add_argument("--pools", required=True, nargs="+", type=Path)
    drawing.add_argument("--scored", nargs="+", type=Path, default=[], help="rankings that must score all negatives")
    drawing.add_argument("--positives", type=Path, help="a ranking whose best scores make further positives")
    drawing.add_argument("--settings", required=True, type=parser_of(TrainsetSettings))
    joining = commands.add_parser("join", help="add the teachers' scores")
    joining.add_argument("--drawn", required=True, type=Path)
    joining.add_argument("--scores", nargs="+", action="append", default=[], metavar=("TEACHER", "SHARD"))
    for command in (drawing, joining):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "draw":
        pairs, candidates, relevant = sources(a, a.settings)
        draw_trainset(pairs, candidates, a.settings, a.out, relevant)
    else:
        join(a.drawn, {name: [Path(p) for p in shards] for name, *shards in a.scores}, a.out)


if __name__ == "__main__":
    run_main(main)
