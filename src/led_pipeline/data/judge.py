"""Judge a stage's candidate negatives by a teacher: those that score nearly as high as a positive are dropped.

Run as `python -m led_pipeline.data.judge candidates --queries Q --passages P --qrels F --pools POOL... --settings JSON
--out drawn.arrow` for all candidates of every query, in the format in which teachers score a trainset; and, when the
judges' scores are joined to it, as `... drop --scored trainset.arrow --settings JSON --out DROPPED` for a ranking of
the candidates to leave out.

With s the judge's score (of several judges the weighted sum) and s+ the lowest score of the query's positives, a
candidate stays if s < s+ - margin * |s+| (relative), or if s < s+ - margin (absolute). These are the rules TopK-PercPos
and TopK-MarginPos of NV-Retriever (arXiv:2407.15831).
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.examples import Trainset
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranked, Ranking, write_rankings
from led_pipeline.data.trainset import Inputs, input_options, sources
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import CandidateSettings, parser_of
from led_pipeline.recipe.values import Judge


def write_candidates(files: Inputs, settings: CandidateSettings, out: Path) -> None:
    """Write every query's candidates behind its first positive, and further positives as rows of their own.

    Queries without a positive or without candidates are left out.

    Raises:
        InputError: no query has both.
    """
    pairs, candidates, _ = sources(files, settings)
    rows = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    queries: list[int] = []
    lists: list[NDArray[np.int32]] = []
    for start, stop, block in candidates.blocks(rows):
        low, high = np.searchsorted(pairs[:, 0], [start, stop])
        first = -1
        for query, positive in pairs[low:high].tolist():
            some = block[query - start]
            if len(some):
                queries.append(query)
                lists.append(np.append(np.int32(positive), some if query != first else some[:0]).astype(np.int32))
                first = query
    if not queries:
        raise InputError(f"{out}: no judged query has negatives; check that the pools belong to the split 'train'")
    column = Ragged.from_rows(lists, np.int32)
    Trainset(np.array(queries, dtype=np.int32), column, len(queries)).write(out)
    print(f"{len(np.unique(queries)):,} queries with {len(column.values) - len(queries):,} candidates to judge")


def judged_scores(trainset: Trainset, judge: Judge) -> NDArray[np.float64]:
    """Return the judge's score of every passage of a trainset, in their order: the weighted sum of its systems'."""
    weights = judge.weights or [1.0] * len(judge.systems)
    columns = [trainset.scores[name].values.astype(np.float64) for name in judge.systems]
    total: NDArray[np.float64] = np.sum([w * column for w, column in zip(weights, columns, strict=True)], axis=0)
    return total


def limits(positive_Q: NDArray[np.float64], judge: Judge) -> NDArray[np.float64]:
    """Return the score that a candidate must be below, from the lowest score of each query's positives."""
    return positive_Q - judge.margin * (np.abs(positive_Q) if judge.kind == "relative" else 1.0)


def dropped(trainset: Trainset, judge: Judge) -> Iterator[Ranked]:
    """Yield the candidates of each query that are left out with their scores, best first; of most queries, none."""
    scores, offsets = judged_scores(trainset, judge), trainset.passages.offsets
    first = np.flatnonzero(np.diff(trainset.query, prepend=-1))  # a query's rows follow each other
    lowest = np.minimum.reduceat(scores[offsets[:-1]], first)
    for place, limit in zip(first.tolist(), limits(lowest, judge).tolist(), strict=True):
        low, high = int(offsets[place]) + 1, int(offsets[place + 1])
        some = scores[low:high]
        order = np.argsort(-some, kind="stable")
        order = order[some[order] >= limit]
        passages = trainset.passages.values[low:high][order]
        # A passage in several pools is one.
        once = np.sort(np.unique(passages, return_index=True)[1])
        yield int(trainset.query[place]), passages[once], some[order][once].astype(np.float32)


def write_dropped(scored: Path, judge: Judge, out: Path) -> None:
    """Write the candidates to leave out as a ranking, and beside it how many each query loses."""
    trainset = Trainset.read(scored)
    if missing := [name for name in judge.systems if name not in trainset.scores]:
        raise InputError(f"{scored}: it has no scores of {', '.join(missing)}; let Snakemake make it again")
    candidates: Counter[int] = Counter()
    for row, query in enumerate(trainset.query.tolist()):
        candidates[query] += len(np.unique(trainset.passages[row][1:]))
    lost: Counter[int] = Counter()

    def lists() -> Iterator[Ranked]:
        for query, passages, scores in dropped(trainset, judge):
            if len(passages):
                lost[query] = len(passages)
                yield query, passages, scores

    write_rankings(out, Ranking.parts(lists()))
    per_query = np.array([lost[query] for query in candidates])
    note = {
        "judge": judge.model_dump(mode="json"),
        "queries": len(candidates),
        "candidates": sum(candidates.values()),
        "dropped": int(per_query.sum()),
        "queries_with_dropped": int((per_query > 0).sum()),
        "queries_without_others": sum(lost[query] == count for query, count in candidates.items()),
        "dropped_per_query": {f"p{q}": float(np.percentile(per_query, q)) for q in (50, 90, 99, 100)}
        | {"mean": float(per_query.mean())},
    }
    write_json(out.with_suffix(".json"), note)
    print(
        f"{note['dropped']:,} of {note['candidates']:,} candidates dropped, of {note['queries_with_dropped']:,} of"
        f" {note['queries']:,} queries; {note['queries_without_others']:,} have no other candidate"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Judge candidate negatives by a teacher.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("candidates", help="write all candidates, to be scored")
    input_options(listing)
    listing.add_argument("--settings", required=True, type=parser_of(CandidateSettings))
    dropping = commands.add_parser("drop", help="write the candidates to leave out")
    dropping.add_argument("--scored", required=True, type=Path)
    dropping.add_argument("--judge", required=True, type=parser_of(Judge))
    for command in (listing, dropping):
        command.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    if a.command == "candidates":
        write_candidates(Inputs(a.queries, a.passages, a.qrels, a.pools, a.scored, a.positives), a.settings, a.out)
    else:
        write_dropped(a.scored, a.judge, a.out)


if __name__ == "__main__":
    run_main(main)
