"""The queries where two systems differ most, and the rank of the first relevant passage in each of their rankings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import read_ranking, rows_of
from led_pipeline.inspection.comparing import Side
from led_pipeline.inspection.runs import Run, present

Ranks = list[int | None]  # one per run; None: no relevant passage within the depth of the evaluation


@dataclass(frozen=True)
class Moved:
    """A query, its two values, and the ranks of its first relevant passage."""

    qid: str
    text: str
    first: float
    second: float
    ranks_first: Ranks
    ranks_second: Ranks


def largest(a: Mapping[str, float], b: Mapping[str, float], count: int) -> tuple[list[str], list[str]]:
    """Return the queries where the first system is better by most, and those where the second one is, at most `count`.

    Equal differences are in the order of the queries.
    """
    difference = {qid: a[qid] - b[qid] for qid in a}
    up = sorted((qid for qid, value in difference.items() if value > 0), key=lambda qid: -difference[qid])
    down = sorted((qid for qid, value in difference.items() if value < 0), key=lambda qid: difference[qid])
    return up[:count], down[:count]


def moved(first: Side, second: Side, measure: str, split: str, count: int) -> tuple[list[Moved], list[Moved]]:
    """Return the queries that the first system ranks better by most, and those that the second one does."""
    a, b = first.values(measure), second.values(measure)
    groups = largest(a, b, count)
    qids = [qid for group in groups for qid in group]
    run = first.runs[0]
    texts = dict(zip(run.query_ids(split), run.query_texts(split), strict=True))
    ranks_a, ranks_b = ([first_ranks(run, side.system, split, qids) for run in side.runs] for side in (first, second))
    up, down = (
        [Moved(qid, texts[qid], a[qid], b[qid], [r[qid] for r in ranks_a], [r[qid] for r in ranks_b]) for qid in group]
        for group in groups
    )
    return up, down


def first_ranks(run: Run, system: str, split: str, qids: Sequence[str]) -> dict[str, int | None]:
    """Return the rank of the first relevant passage of some queries in a system's ranking, counted as in its run file.

    None: there is no relevant passage within the depth of the evaluation.
    """
    dataset, depth = run.recipe.dataset, run.recipe.evaluation.depth
    ranking = present(run.layout.ranking(system, split))
    rows = {qid: row for row, qid in enumerate(run.query_ids(split))}
    qrels = load_qrels(Path(run.layout.qrels(split)))
    least = dataset.splits[split].relevant_from
    relevant = {qid: {pid for pid, grade in qrels[qid].items() if grade >= least} for qid in qids}
    excluded = {qid: {qid} if dataset.exclude_query_id else set() for qid in qids}
    passages = rows_of(run.collection, set.union(set(), *relevant.values(), *excluded.values()))
    ranks: dict[str, int | None] = {}
    for qid in qids:
        hits = [hits for _, hits, _ in read_ranking(ranking, rows[qid], rows[qid] + 1)]
        skipped = {passages[pid] for pid in excluded[qid] if pid in passages}
        ordered = [row for row in (hits[0].tolist() if hits else []) if row not in skipped][:depth]
        targets = {passages[pid] for pid in relevant[qid] if pid in passages}
        ranks[qid] = next((rank for rank, row in enumerate(ordered, 1) if row in targets), None)
    return ranks
