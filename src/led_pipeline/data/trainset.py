"""Trainset: everything that a stage will train on, decided in advance.

Run as `python -m led_pipeline.data.trainset draw ...` to draw the negatives of every epoch from the pools, and as
`python -m led_pipeline.data.trainset join ...` to add the teachers' scores.

An example is one judged (query, positive) pair whose query has negatives. Each epoch visits the examples in a new order
and draws new negatives. Rules of LED: the systems' pools are concatenated, so a passage that two systems found is twice
as likely; more than N entries: N of them without replacement; exactly N: all; fewer: the list is cycled.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.pools import judged_rows
from led_pipeline.data.scores import key, keys_of
from led_pipeline.data.tables import Ragged, read_arrow, read_ranking, write_arrow
from led_pipeline.files import InputError, run_main, write_json

QUERIES = 16_384  # query rows whose candidates are held at once


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


@dataclass(frozen=True)
class Candidates:
    """Each query's candidates: the first `depth` of every pool, in the order of the pools; read from their files."""

    pools: Sequence[Path]
    depth: int
    deduplicate: bool = False  # the first occurrence stays
    scored: Sequence[Path] = ()  # rankings that must have a score of every candidate

    def read(self, start: int, stop: int) -> Ragged:
        """Return the candidates of the query rows start..stop."""
        found = [read_ranking(path, start, stop) for path in self.pools]
        lengths = [np.minimum(pool.passages.lengths, self.depth) for pool in found]
        query_of = np.concatenate([np.repeat(pool.queries, n) for pool, n in zip(found, lengths, strict=True)])
        values = np.concatenate([_first(pool.passages, n) for pool, n in zip(found, lengths, strict=True)])
        order = np.argsort(query_of, kind="stable")
        query_of, values = query_of[order], values[order]
        if self.deduplicate:
            kept = np.unique(key(query_of, values), return_index=True)[1]
            kept.sort()
            query_of, values = query_of[kept], values[kept]
        for path in self.scored:
            known = np.isin(key(query_of, values), keys_of(read_ranking(path, start, stop)))
            query_of, values = query_of[known], values[known]
        return Ragged(values, np.searchsorted(query_of, np.arange(start, stop + 1)))

    def blocks(self, queries: int) -> Iterator[tuple[int, int, Ragged]]:
        """Yield the candidates of the query rows from 0 to `queries` in blocks, with the rows they begin and end at."""
        for start in range(0, queries, QUERIES):
            stop = min(start + QUERIES, queries)
            yield start, stop, self.read(start, stop)


def _first(rows: Ragged, lengths: NDArray[np.int64]) -> NDArray:
    """Return the first so many values of every row, end to end."""
    skipped = np.repeat(rows.offsets[:-1] - np.cumsum(lengths) + lengths, lengths)
    return rows.values[np.arange(len(skipped)) + skipped]


def positives(qrels: Path, queries: Path, passages: Path) -> NDArray[np.int32]:
    """Return the (query row, passage row) of every judgement above grade 0, sorted."""
    relevant = judged_rows(qrels, queries, passages, from_grade=1)
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


def draw_trainset(pairs: NDArray[np.int32], candidates: Candidates, settings: dict, out: Path) -> None:
    """Write the examples of every epoch that training will reach, and a manifest beside them.

    The pools are read twice: for the numbers of candidates, from which positions are drawn, and for the passages there.
    Memory holds the examples and the candidates of some queries.
    """
    rows = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    available = np.concatenate([found.lengths for _, _, found in candidates.blocks(rows)] or [[]])
    usable = pairs[available[pairs[:, 0]] > 0] if len(pairs) else pairs
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
            passages[i, 1:] = draw(int(available[query]), count, random)
    _look_up(queries, passages, candidates, rows)
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a stage's trainset.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the negatives of every epoch")
    for name in ("queries", "passages", "qrels"):
        drawing.add_argument(f"--{name}", required=True, type=Path)
    drawing.add_argument("--pools", required=True, nargs="+", type=Path)
    drawing.add_argument("--scored", nargs="+", type=Path, default=[], help="rankings that must score all negatives")
    drawing.add_argument("--settings", required=True, type=json.loads)
    joining = commands.add_parser("join", help="add the teachers' scores")
    joining.add_argument("--drawn", required=True, type=Path)
    joining.add_argument("--scores", nargs="+", action="append", default=[], metavar=("TEACHER", "SHARD"))
    for command in (drawing, joining):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "draw":
        candidates = Candidates(a.pools, a.settings["negatives_depth"], a.settings["deduplicate"], a.scored)
        draw_trainset(positives(a.qrels, a.queries, a.passages), candidates, a.settings, a.out)
    else:
        join(a.drawn, {name: [Path(p) for p in shards] for name, *shards in a.scores}, a.out)


if __name__ == "__main__":
    run_main(main)
