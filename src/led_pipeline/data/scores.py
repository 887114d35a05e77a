"""Store score files as rankings, and look up a teacher's scores of a trainset's passages.

Run as `python -m led_pipeline.data.scores store --file FILE --queries Q --passages P --scale 1 --offset 0 --out R` to
write a score file as a ranking of the training queries, from which pools are built as from any other; and as
`... look-up --pairs drawn.arrow --ranking R --shard I --shards S --out NPY`, or with `--qrels F --queries Q
--passages P` in place of `--ranking R`, for the teacher's scores of the drawn passages.

A positive without a score in the file gets the highest score of its query (SPLADE's rule) and is counted; a negative
without a score is an error. With the qrels as the teacher, a passage that is not judged has grade 0.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.formats.examples import read_example_scores
from led_pipeline.data.formats.records import kind_of
from led_pipeline.data.formats.score_files import Scored, read_scores
from led_pipeline.data.pools import in_row_order, judged_grades
from led_pipeline.data.tables import (
    Ranked,
    Ranking,
    read_arrow,
    read_ranking,
    shard_range,
    write_matrix,
    write_rankings,
)
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main

QUERIES = 16_384  # query rows whose scores are held at once

# (start, stop, query rows in start..stop in ascending order, their passage rows) -> scores, and where one is missing
Lookup = Callable[[int, int, NDArray, NDArray], tuple[NDArray[np.float32], NDArray[np.bool_]]]


def key(queries: NDArray, passages: NDArray) -> NDArray[np.int64]:
    """Return one number per (query row, passage row) pair, ordered by query and then by passage."""
    keys: NDArray[np.int64] = queries.astype(np.int64) << 32 | passages
    return keys


def keys_of(ranking: Ranking) -> NDArray[np.int64]:
    """Return the keys of a ranking's pairs, in the order of the ranking."""
    return key(np.repeat(ranking.queries, ranking.passages.lengths), ranking.passages.values)


def store(
    file: Path,
    queries: Path,
    passages: Path,
    transform: tuple[float, float],
    out: Path,
    read: Callable[[Path], Iterable[Scored]] = read_scores,
) -> None:
    """Write the scores of a file, times a factor and plus a constant, as a ranking; ties keep the file's order."""
    scale, offset = transform
    counts = {"queries": 0, "passages": 0}

    def lists() -> Iterator[Ranked]:
        for query, rows, scores in in_row_order(read(file), file, queries, passages, out.parent):
            scores = (scores * scale + offset).astype(np.float32)
            order = np.argsort(-scores, kind="stable")
            counts["queries"] += 1
            counts["passages"] += len(rows)
            yield query, rows[order], scores[order]

    out.parent.mkdir(parents=True, exist_ok=True)
    write_rankings(out, Ranking.parts(lists()))
    if not counts["queries"]:
        raise InputError(f"{file}: none of its queries is a training query; take the file made for this dataset")
    print(f"{counts['queries']:,} training queries with {counts['passages']:,} scores")


def of_ranking(path: Path) -> Lookup:
    """Return the function that looks up scores in a stored ranking."""

    def look_up(start: int, stop: int, queries: NDArray, passages: NDArray) -> tuple[NDArray, NDArray]:
        ranking = read_ranking(path, start, stop)
        keys = keys_of(ranking)
        order = np.argsort(keys)
        pair_keys = key(queries, passages)
        place = np.minimum(np.searchsorted(keys[order], pair_keys), max(len(keys) - 1, 0))
        missing = keys[order][place] != pair_keys if len(keys) else np.ones(len(pair_keys), dtype=bool)
        values = ranking.scores.values[order]
        return (values[place] if len(keys) else np.zeros(len(pair_keys), dtype=np.float32)).copy(), missing

    return look_up


def of_qrels(qrels: Path, queries: Path, passages: Path) -> Lookup:
    """Return the function that looks up grades in qrels; a passage that is not judged has grade 0."""
    judged = judged_grades(qrels, queries, passages)
    pairs = {query << 32 | row: grade for query, grades in judged.items() for row, grade in grades.items()}
    keys = np.array(sorted(pairs), dtype=np.int64)
    grades = np.array([pairs[k] for k in keys.tolist()], dtype=np.float32)

    def look_up(_start: int, _stop: int, queries: NDArray, passages: NDArray) -> tuple[NDArray, NDArray]:
        pair_keys = key(queries, passages)
        place = np.minimum(np.searchsorted(keys, pair_keys), len(keys) - 1)
        return np.where(keys[place] == pair_keys, grades[place], np.float32(0)), np.zeros(len(pair_keys), dtype=bool)

    return look_up


def look_up(pairs: Path, source: Path, scores_of: Lookup, shard: int, shards: int, out: Path) -> None:
    """Write the scores of the passages in one shard of a trainset as a flat float32 vector, in row order.

    Args:
        source: the file of the scores, for errors.

    Raises:
        InputError: a negative has no score.
    """
    columns, _ = read_arrow(pairs)
    first, last = shard_range(len(columns["query"]), shard, shards)
    candidates = columns.ragged("passages")
    queries, offsets = columns.flat("query")[first:last], candidates.offsets[first : last + 1]
    width = np.diff(offsets)
    passages = candidates.values[offsets[0] : offsets[-1]]
    scores, missing = np.empty(len(passages), dtype=np.float32), np.empty(len(passages), dtype=bool)
    query_of = np.repeat(queries, width)
    order = np.argsort(query_of, kind="stable")
    for start in range(0, int(query_of.max(initial=-1)) + 1, QUERIES):
        low, high = np.searchsorted(query_of, [start, start + QUERIES], sorter=order)
        block = order[low:high]
        if len(block):
            scores[block], missing[block] = scores_of(start, start + QUERIES, query_of[block], passages[block])
    positive = np.zeros(len(passages), dtype=bool)
    positive[offsets[:-1] - offsets[0]] = True
    if (unscored := missing & ~positive).any():
        raise InputError(
            f"{source}: {unscored.sum():,} of {len(passages) - len(queries):,} drawn negatives have no score there; set"
            " only_scored: true for this stage to draw among scored passages only, or take a file that has them all"
        )
    if missing.any():
        _fill_positives(scores, np.flatnonzero(missing), query_of, source)
    print(f"{len(scores):,} scores; {missing.sum():,} positives without a score got their query's highest")
    write_matrix(out, scores)


def _fill_positives(scores: NDArray, places: NDArray, queries: NDArray, source: Path) -> None:
    """Give positives without a score the highest score of their query in the whole file."""
    highest: dict[int, np.float32] = {}
    incomplete = np.unique(queries[places])
    for start in range(0, int(incomplete[-1]) + 1, QUERIES):
        if len(incomplete[(incomplete >= start) & (incomplete < start + QUERIES)]):
            ranking = read_ranking(source, start, start + QUERIES)
            highest |= {query: values.max() for query, _, values in ranking if len(values)}
    for place in places:
        scores[place] = highest[int(queries[place])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Store scores, or look them up.")
    commands = parser.add_subparsers(dest="command", required=True)
    storing = commands.add_parser("store", help="write a score file as a ranking of the training queries")
    storing.add_argument("--file", required=True, type=Path)
    storing.add_argument("--format", choices=["examples"], help="the file holds training examples with texts")
    storing.add_argument("--queries", required=True, type=Path)
    storing.add_argument("--passages", required=True, type=Path)
    storing.add_argument("--scale", type=float, default=1.0)
    storing.add_argument("--offset", type=float, default=0.0)
    looking = commands.add_parser("look-up", help="look up the scores of one shard of a trainset's rows")
    looking.add_argument("--pairs", required=True, type=Path)
    for name in ("ranking", "qrels", "queries", "passages"):
        looking.add_argument(f"--{name}", type=Path)
    looking.add_argument("--shard", required=True, type=int)
    looking.add_argument("--shards", required=True, type=int)
    for command in (storing, looking):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "store":
        read = read_example_scores if a.format and kind_of(a.file, "tab") != "tab" else read_scores
        store(a.file, a.queries, a.passages, (a.scale, a.offset), a.out, read)
    else:
        scores_of = of_qrels(a.qrels, a.queries, a.passages) if a.qrels else of_ranking(a.ranking)
        look_up(a.pairs, a.qrels or a.ranking, scores_of, a.shard, a.shards, a.out)


if __name__ == "__main__":
    run_main(main)
