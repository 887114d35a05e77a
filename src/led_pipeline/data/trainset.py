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

from led_pipeline.data.pools import judged_rows, row_numbers
from led_pipeline.data.tables import Ragged, read_arrow, read_ranking, write_arrow
from led_pipeline.files import InputError, run_main, write_json


def draw(candidates: NDArray[np.int32], count: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Draw `count` negatives of one query by LED's rules; the entries of `candidates` may repeat.

    Raises:
        ValueError: there is no candidate.
    """
    if len(candidates) == 0:
        raise ValueError("no candidate to draw from")
    if len(candidates) > count:
        return candidates[random.choice(len(candidates), size=count, replace=False, shuffle=False)]
    return np.resize(candidates, count)


def candidates_by_query(pools: list[Path], depth: int, deduplicate: bool) -> dict[int, NDArray[np.int32]]:
    """Return each query's candidates: the first `depth` of every pool, in the order of the pools."""
    found: dict[int, list[NDArray[np.int32]]] = {}
    for path in pools:
        for query, passages, _ in read_ranking(path):
            found.setdefault(query, []).append(passages[:depth])
    joined = {query: np.concatenate(lists) for query, lists in found.items()}
    if deduplicate:  # the first occurrence stays
        joined = {query: rows[np.sort(np.unique(rows, return_index=True)[1])] for query, rows in joined.items()}
    return joined


def positives(qrels: Path, queries: Path, passages: Path) -> NDArray[np.int32]:
    """Return the (query row, passage row) of every judgement above grade 0, sorted."""
    relevant = judged_rows(qrels, row_numbers(queries), row_numbers(passages), from_grade=1)
    rows = [(query, passage) for query, found in relevant.items() for passage in found]
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


def draw_trainset(pairs: NDArray[np.int32], pools: dict[int, NDArray[np.int32]], settings: dict, out: Path) -> None:
    """Write the examples of every epoch that training will reach, and a manifest beside them."""
    usable = pairs[[query in pools for query, _ in pairs.tolist()]] if len(pairs) else pairs
    if not len(usable):
        raise InputError(f"{out}: no judged query has negatives; check that the pools belong to the split 'train'")
    count, size = settings["negatives_per_query"], settings["batch_size"]
    epochs = -(-total_steps(len(usable), settings) // steps_per_epoch(len(usable), size))
    random = np.random.default_rng(settings["seed"])
    queries = np.empty(epochs * len(usable), dtype=np.int32)
    passages = np.empty((len(queries), count + 1), dtype=np.int32)
    for epoch in range(epochs):
        for i, (query, positive) in enumerate(usable[random.permutation(len(usable))].tolist(), epoch * len(usable)):
            queries[i] = query
            passages[i, 0] = positive
            passages[i, 1:] = draw(pools[query], count, random)
    columns = {
        "query": queries,
        "epoch": np.repeat(np.arange(epochs, dtype=np.int16), len(usable)),
        "passages": Ragged(passages.ravel(), np.arange(len(queries) + 1, dtype=np.int64) * (count + 1)),
    }
    write_arrow(out, columns, {"examples": str(len(usable))})
    manifest = {
        "examples_per_epoch": len(usable),
        "epochs": epochs,
        "negatives_per_query": count,
        "dropped_without_negatives": len(pairs) - len(usable),
        "queries": len(np.unique(usable[:, 0])),
        "seed": settings["seed"],
    }
    write_json(out.with_suffix(".json"), manifest)
    print(json.dumps(manifest))


def join(drawn: Path, teachers: dict[str, list[Path]], out: Path) -> None:
    """Add one column of scores per teacher, `score_<teacher>`, given as npy shards in the order of the passages."""
    columns, metadata = read_arrow(drawn)
    passages = columns["passages"]
    for name, shards in teachers.items():
        scores = np.concatenate([np.load(path) for path in shards]).astype(np.float32)
        if len(scores) != len(passages.values) or not np.isfinite(scores).all():
            raise InputError(
                f"{shards[0]}: {len(passages.values)} finite scores of teacher '{name}' expected, got {len(scores)}"
            )
        columns[f"score_{name}"] = Ragged(scores, passages.offsets)
    write_arrow(out, columns, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a stage's trainset.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the negatives of every epoch")
    for name in ("queries", "passages", "qrels"):
        drawing.add_argument(f"--{name}", required=True, type=Path)
    drawing.add_argument("--pools", required=True, nargs="+", type=Path)
    drawing.add_argument("--settings", required=True, type=json.loads)
    joining = commands.add_parser("join", help="add the teachers' scores")
    joining.add_argument("--drawn", required=True, type=Path)
    joining.add_argument("--scores", nargs="+", action="append", default=[], metavar=("TEACHER", "SHARD"))
    for command in (drawing, joining):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "draw":
        pools = candidates_by_query(a.pools, a.settings["negatives_depth"], a.settings["deduplicate"])
        draw_trainset(positives(a.qrels, a.queries, a.passages), pools, a.settings, a.out)
    else:
        join(a.drawn, {name: [Path(p) for p in shards] for name, *shards in a.scores}, a.out)


if __name__ == "__main__":
    run_main(main)
