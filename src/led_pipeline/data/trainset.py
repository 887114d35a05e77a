"""Trainset: everything that a stage will train on, decided in advance.

Run as `python -m led_pipeline.data.trainset draw ...` to draw the negatives of every epoch from the pools, and as
`python -m led_pipeline.data.trainset join ...` to add the teachers' scores.

An example is one judged (query, positive) pair whose query has negatives. Each epoch visits the examples in a new order
and draws new negatives. Rules of LED: the systems' pools are concatenated, so a passage that two systems found is twice
as likely; more than N entries: N of them without replacement; exactly N: all; fewer: the list is cycled.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.candidates import Candidates, above
from led_pipeline.data.pools import judged_grades
from led_pipeline.data.scores import key
from led_pipeline.data.tables import Ragged, count_rows, read_arrow, write_arrow
from led_pipeline.files import InputError, run_main, write_json
from led_pipeline.recipe_stages import LABELS


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


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the optimizer steps of one epoch; the last batch is filled up from the epoch's start."""
    return -(-examples // batch_size)


def total_steps(examples: int, settings: dict) -> int:
    """Return the optimizer steps of a whole training."""
    steps = settings["epochs"] * steps_per_epoch(examples, settings["batch_size"])
    return min(steps, settings["max_steps"] or steps)


def batch_rows(step: int, examples: int, batch_size: int) -> NDArray[np.int64]:
    """Return the trainset rows of one optimizer step (from 0): `batch_size` of them, of one epoch."""
    epoch, position = divmod(step, steps_per_epoch(examples, batch_size))
    return epoch * examples + np.arange(position * batch_size, (position + 1) * batch_size) % examples


def draw_trainset(pairs: NDArray[np.int32], candidates: Candidates, settings: dict, out: Path) -> None:
    """Write the examples of every epoch that training will reach, and a manifest beside them.

    The pools are read twice: for the numbers of candidates, from which positions are drawn, and for the passages there.
    Memory holds the examples and the candidates of some queries.
    """
    rows = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    available = np.concatenate([found.lengths for _, _, found in candidates.blocks(rows)] or [[]])
    usable = pairs[available[pairs[:, 0]] > 0] if len(pairs) else pairs
    if not len(usable):
        raise InputError(
            f"{out}: no judged query has negatives; check that the pools belong to the split 'train', and where"
            " `labels` is the only one, that passages are judged below the positives"
        )
    count, size, seed = settings["negatives_per_query"], settings["batch_size"], settings["seed"]
    one = settings.get("positives_per_epoch", "all") == "one"
    examples = len(np.unique(usable[:, 0])) if one else len(usable)
    epochs = -(-total_steps(examples, settings) // steps_per_epoch(examples, size))
    random = np.random.default_rng(seed)
    moving = settings.get("sampling", "random") == "window"
    queries = np.empty(epochs * examples, dtype=np.int32)
    passages = np.empty((len(queries), count + 1), dtype=np.int32)
    for epoch in range(epochs):
        pairs_now = one_each(usable, random) if one else usable
        for i, (query, positive) in enumerate(pairs_now[random.permutation(examples)].tolist(), epoch * examples):
            queries[i] = query
            passages[i, 0] = positive
            there = int(available[query])
            passages[i, 1:] = window(there, count, epoch, seed, query) if moving else draw(there, count, random)
    _look_up(queries, passages, candidates, rows)
    columns = {
        "query": queries,
        "epoch": np.repeat(np.arange(epochs, dtype=np.int16), examples),
        "passages": Ragged(passages.ravel(), np.arange(len(queries) + 1, dtype=np.int64) * (count + 1)),
    }
    write_arrow(out, columns, {"examples": str(examples)})
    manifest = {
        "examples_per_epoch": examples,
        "epochs": epochs,
        "negatives_per_query": count,
        "dropped_without_negatives": len(pairs) - len(usable),
        "queries": len(np.unique(usable[:, 0])),
        "seed": seed,
    }
    write_json(out.with_suffix(".json"), manifest)
    print(json.dumps(manifest))


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
    """Add one column of scores per teacher, `score_<teacher>`, given as npy shards in the order of the passages."""
    columns, metadata = read_arrow(drawn)
    passages = columns["passages"]
    for name, shards in teachers.items():
        parts = [np.load(path, mmap_mode="r") for path in shards]
        scores = np.concatenate(parts).astype(np.float32, copy=False)
        if len(scores) != len(passages.values) or not np.isfinite(scores).all():
            raise InputError(
                f"{shards[0]}: {len(passages.values)} finite scores of teacher '{name}' expected, got {len(scores)}"
            )
        columns[f"score_{name}"] = Ragged(scores, passages.offsets)
    write_arrow(out, columns, metadata)


def sources(a: argparse.Namespace) -> tuple[NDArray[np.int32], Candidates]:
    """Return what the command line of `draw` names: the positive pairs, and the candidates for negatives."""
    settings = a.settings
    pairs = positives(a.qrels, a.queries, a.passages, settings.get("positive_from", 1))
    if a.positives:
        scored = above(a.positives, count_rows(a.queries), settings["more_positives"]["min_score"])
        pairs = np.unique(np.concatenate([pairs, scored]), axis=0)
    named = settings.get("negatives", [])
    which = [None if isinstance(source, str) else source for source in named]
    names = {source if isinstance(source, str) else source["system"] for source in named}
    # Unless one of these adds to them, the pools are without any positive already.
    excluded = key(pairs[:, 0], pairs[:, 1]) if a.positives or LABELS in names else None
    depth, unique = settings["negatives_depth"], settings["deduplicate"]
    return pairs, Candidates(a.pools, depth, unique, a.scored, which, settings["seed"], excluded)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a stage's trainset.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the negatives of every epoch")
    for name in ("queries", "passages", "qrels"):
        drawing.add_argument(f"--{name}", required=True, type=Path)
    drawing.add_argument("--pools", required=True, nargs="+", type=Path)
    drawing.add_argument("--scored", nargs="+", type=Path, default=[], help="rankings that must score all negatives")
    drawing.add_argument("--positives", type=Path, help="a ranking whose best scores make further positives")
    drawing.add_argument("--settings", required=True, type=json.loads)
    joining = commands.add_parser("join", help="add the teachers' scores")
    joining.add_argument("--drawn", required=True, type=Path)
    joining.add_argument("--scores", nargs="+", action="append", default=[], metavar=("TEACHER", "SHARD"))
    for command in (drawing, joining):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "draw":
        draw_trainset(*sources(a), a.settings, a.out)
    else:
        join(a.drawn, {name: [Path(p) for p in shards] for name, *shards in a.scores}, a.out)


if __name__ == "__main__":
    run_main(main)
