"""Build a stage's trainset: the examples of every epoch, in order, with their negatives and the teachers' scores.

Run as `python -m led_pipeline.data.trainset draw ...` to draw the negatives of every epoch from the pools, and as
`python -m led_pipeline.data.trainset join ...` to add the teachers' scores.

An example is one judged (query, positive) pair whose query has negatives. Each epoch visits the examples in a new
order, in which, where possible, no batch holds a query twice (module `order`), and draws new negatives. They are drawn
by LED's rules: the systems' pools are concatenated, so a passage in two pools is twice as likely; of more than N
entries, N are drawn without replacement; exactly N are all taken; fewer are cycled.

Every example carries the texts of all positives of its query (module `same_text`), so that training can recognise the
positives among the passages of a batch.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.candidates import Candidates, above
from led_pipeline.data.drawing import depths, draw, one_each, window
from led_pipeline.data.examples import Trainset
from led_pipeline.data.mixture import Mixture, Shuffle, order_of
from led_pipeline.data.opened import matrix
from led_pipeline.data.order import batch_rows, batches_per_epoch, repeats, total_batches
from led_pipeline.data.pools import judged_grades
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.same_text import first_rows, positives_elsewhere
from led_pipeline.data.scores import key
from led_pipeline.data.tables import count_rows
from led_pipeline.data.union import SETS
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.settings import Schedule
from led_pipeline.recipe.step_settings import CandidateSettings, TrainsetSettings, parser_of


def positives(
    qrels: Path, queries: Path, passages: Path, from_grade: int | Literal["highest"] = 1
) -> NDArray[np.int32]:
    """Return the (query row, passage row) of every positive, sorted.

    Args:
        from_grade: the lowest grade of a positive, or "highest" for the highest grade of each query, if above 0.
    """
    rows: list[tuple[int, int]] = []
    for query, grades in judged_grades(qrels, queries, passages).items():
        least = from_grade if isinstance(from_grade, int) else max(1, *grades.values())
        rows += [(query, passage) for passage, grade in grades.items() if grade >= least]
    return np.array(sorted(rows), dtype=np.int32).reshape(-1, 2)


def draw_trainset(
    pairs: NDArray[np.int32],
    candidates: Candidates,
    settings: TrainsetSettings,
    out: Path,
    relevant: NDArray[np.int32] | None = None,
    sets: Mapping[str, int] | None = None,
) -> None:
    """Write the examples of every epoch that training will reach, and a manifest beside them.

    The pools are read twice for every depth that epochs draw from: first for the numbers of candidates, to draw
    positions, then for the passages at these positions. Memory holds the examples, one block of candidates and 4 bytes
    per passage.

    Args:
        pairs: (query row, passage row) of the positives to train on, sorted by query.
        relevant: the pairs whose texts must not count as in-batch negatives of the query; default: `pairs`.
        sets: the number of queries of each set, in the order of their rows, for `split_temperature`.
    """
    rows = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    least = min(settings.negatives_depth, settings.negatives_depth_end or settings.negatives_depth)
    counts = {least: _available(candidates, least, rows)}
    usable = pairs[counts[least][pairs[:, 0]] > 0] if len(pairs) else pairs
    if not len(usable):
        raise InputError(
            f"{out}: no judged query has negatives; check that the pools belong to the split 'train', and, if"
            f" `{QRELS}` is the only one, that some passages have lower grades than the positives, and that `judge`, if"
            " there is one, leaves some candidates"
        )
    order = order_of(np.unique(usable[:, 0]) if settings.positives_per_epoch == "one" else usable[:, 0], settings, sets)
    examples = order.examples
    epochs = -(-total_batches(examples, settings) // batches_per_epoch(examples, min(settings.batch_size, examples)))
    depth_of = depths(epochs, settings)
    counts |= {depth: _available(candidates, depth, rows) for depth in {*depth_of} - {least}}
    queries, passages = _epochs(usable, [counts[depth] for depth in depth_of], order, settings)
    for depth in dict.fromkeys(depth_of):  # epochs of the same depth follow each other
        first, number = depth_of.index(depth), depth_of.count(depth)
        same = slice(first * examples, (first + number) * examples)
        _look_up(queries[same], passages[same], candidates.within(depth), rows)
    texts = candidates.texts_of(passages)
    positive_texts = _by_query(pairs if relevant is None else relevant, candidates, rows).take(queries)
    count = passages.shape[1]
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
        **({"negatives_depths": depth_of} if settings.negatives_depth_end else {}),
        **(
            {"batches_of_sets": dict(zip(sets or {}, order.batches, strict=True))} if isinstance(order, Mixture) else {}
        ),
        **_batches(queries, texts, positive_texts, examples, settings),
    }
    write_json(out.with_suffix(".json"), manifest)
    print(json.dumps(manifest))


def _available(candidates: Candidates, depth: int, rows: int) -> NDArray[np.int64]:
    """Return the number of each query row's candidates among the first passages of the pools."""
    blocks = candidates.within(depth).blocks(rows)
    return np.concatenate([np.zeros(0, np.int64), *(block.lengths for _, _, block in blocks)])


def _epochs(
    usable: NDArray[np.int32],
    available: Sequence[NDArray[np.int64]],
    order: Shuffle | Mixture,
    settings: TrainsetSettings,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the examples of all epochs: their queries, and their positives with drawn positions.

    Args:
        usable: the positive pairs whose queries have negatives in every epoch.
        available: for each epoch the number of candidates of each query row.
        order: of the examples of every epoch.
    """
    count, seed = settings.negatives_per_query, settings.seed
    examples, random = order.examples, order.random
    moving = settings.sampling == "window"
    queries = np.empty(len(available) * examples, dtype=np.int32)
    passages = np.empty((len(queries), count + 1), dtype=np.int32)
    for epoch, entries_of in enumerate(available):
        pairs_now = one_each(usable, random) if settings.positives_per_epoch == "one" else usable
        ordered = pairs_now[order.epoch()]
        for i, (query, positive) in enumerate(ordered.tolist(), epoch * examples):
            queries[i] = query
            passages[i, 0] = positive
            entries = int(entries_of[query])
            passages[i, 1:] = window(entries, count, epoch, seed, query) if moving else draw(entries, count, random)
    return queries, passages


def _by_query(pairs: NDArray[np.int32], candidates: Candidates, rows: int) -> Ragged:
    """Return the distinct texts of each query's passages in `pairs`, for the query rows from 0 to `rows`."""
    texts = np.unique(np.stack([pairs[:, 0], candidates.texts_of(pairs[:, 1])], axis=1), axis=0)
    return Ragged(texts[:, 1].copy(), np.searchsorted(texts[:, 0], np.arange(rows + 1)))


def _batches(
    queries: NDArray[np.int32], texts: NDArray[np.int32], positives: Ragged, examples: int, schedule: Schedule
) -> dict[str, int]:
    """Return the manifest's counts of the batches of the whole training.

    Counted are the pairs of a query and an in-batch negative, those of them whose passage is in fact a positive of the
    query (`same_text.positives_elsewhere`), and the queries with such a pair.
    """
    size, batch_size = min(schedule.batch_size, examples), schedule.batch_size
    batches, negatives, wrong, touched = total_batches(examples, schedule), 0, 0, 0
    for batch in range(batches):
        rows = batch_rows(batch, examples, size)
        mask = positives_elsewhere(texts[rows], positives.take(rows))
        negatives += mask.size - len(rows)
        wrong += int(mask.sum())
        touched += int(mask.any(axis=1).sum())
    epochs = range(0, len(queries), examples)
    twice = sum(repeats(queries[start : start + examples], size) for start in epochs)
    if size < batch_size:
        print(f"batch_size: {batch_size} is more than the {examples} examples of an epoch, so batches hold {size}")
    if twice:
        print(f"{twice:,} batches hold a query twice, since it has more examples in an epoch than there are batches")
    return {
        "batch_size": size,
        "batches_with_a_query_twice": twice,
        "negatives_in_batches": negatives,
        "positives_among_them": wrong,
        "queries_with_positives_among_them": touched,
        "queries_in_batches": batches * size,
    }


def _look_up(queries: NDArray[np.int32], passages: NDArray[np.int32], candidates: Candidates, rows: int) -> None:
    """Replace the drawn positions, after each example's positive, by the candidates at these positions."""
    order = np.argsort(queries, kind="stable")
    for start, stop, block in candidates.blocks(rows):
        low, high = np.searchsorted(queries, [start, stop], sorter=order)
        examples = order[low:high]
        first = block.offsets[queries[examples] - start]
        passages[examples, 1:] = block.values[first[:, None] + passages[examples, 1:]]


def join(drawn: Path, teachers: dict[str, list[Path]], out: Path) -> None:
    """Add every teacher's scores, which are npy shards in the order of the passages."""
    trainset = Trainset.read(drawn)
    passages, columns = trainset.passages, {}
    for name, shards in teachers.items():
        parts = [matrix(path) for path in shards]
        scores = np.concatenate(parts).astype(np.float32, copy=False)
        if len(scores) != len(passages.values) or not np.isfinite(scores).all():
            raise InputError(
                f"{shards[0]}: expected {len(passages.values)} finite scores of teacher '{name}', got {len(scores)}"
            )
        columns[name] = Ragged(scores, passages.offsets)
    trainset.with_scores(columns).write(out)


@dataclass(frozen=True)
class Inputs:
    """The files that `draw` reads."""

    queries: Path
    passages: Path
    qrels: Path
    pools: Sequence[Path]
    scored: Sequence[Path] = ()  # rankings that must score all negatives
    positives: Path | None = None  # a ranking whose best scores make further positives
    dropped: Path | None = None  # a ranking of candidates that a judge leaves out


def sources(files: Inputs, settings: CandidateSettings) -> tuple[NDArray[np.int32], Candidates, NDArray[np.int32]]:
    """Return the positive pairs to train on, the candidates, and the pairs that must not count as negatives."""
    if (files.positives is None) != (settings.more_positives is None):
        raise InputError("--positives: a ranking and the key more_positives in --settings go together; give both")
    split = files.qrels, files.queries, files.passages
    pairs = positives(*split, settings.positive_from)
    if files.positives and settings.more_positives:
        scored = above(files.positives, count_rows(files.queries), settings.more_positives.min_score)
        pairs = np.unique(np.concatenate([pairs, scored]), axis=0)
    selections = [None if isinstance(source, str) else source for source in settings.negatives]
    judged = QRELS in settings.negative_systems
    texts = first_rows(files.passages)
    # Pools hold no positives, unless further positives come from scores or the judged passages are a pool.
    excluded = np.unique(key(pairs[:, 0], texts[pairs[:, 1]])) if files.positives or judged else None
    depth, unique = settings.deepest, settings.deduplicate
    candidates = Candidates(
        files.pools, depth, unique, files.scored, selections, settings.seed, excluded, texts, files.dropped
    )
    # Passages judged below the positives count as negatives only if the recipe draws negatives from the qrels.
    relevant = pairs if judged else np.concatenate([pairs, positives(*split)])
    return pairs, candidates, relevant


def input_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the files behind the candidates."""
    for name in ("queries", "passages", "qrels"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--pools", required=True, nargs="+", type=Path)
    parser.add_argument("--scored", nargs="+", type=Path, default=[], help="rankings that must score all negatives")
    parser.add_argument("--positives", type=Path, help="a ranking whose best scores make further positives")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a stage's trainset.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw the negatives of every epoch")
    input_options(drawing)
    drawing.add_argument("--dropped", type=Path, help="a ranking of candidates to leave out (data.judge)")
    drawing.add_argument("--sets", type=Path, help="the note of joined splits (data.union), for split_temperature")
    drawing.add_argument("--settings", required=True, type=parser_of(TrainsetSettings))
    joining = commands.add_parser("join", help="add the teachers' scores")
    joining.add_argument("--drawn", required=True, type=Path)
    joining.add_argument("--scores", nargs="+", action="append", default=[], metavar=("TEACHER", "SHARD"))
    for command in (drawing, joining):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "draw":
        files = Inputs(a.queries, a.passages, a.qrels, a.pools, a.scored, a.positives, a.dropped)
        pairs, candidates, relevant = sources(files, a.settings)
        draw_trainset(pairs, candidates, a.settings, a.out, relevant, read_json(a.sets)[SETS] if a.sets else None)
    else:
        join(a.drawn, {name: [Path(p) for p in shards] for name, *shards in a.scores}, a.out)


if __name__ == "__main__":
    run_main(main)
