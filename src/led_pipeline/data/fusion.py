"""Fuse the rankings of several systems into one: reciprocal rank fusion, or weighted sums of normalised scores.

Run as `python -m led_pipeline.data.fusion rank --rankings R1 R2 --queries Q --settings JSON --hits 1000 --out RANKING`,
for one shard of the queries with `--shard I --shards S`; and as `... pair-scores --pairs drawn.arrow --rankings R1 R2
--queries Q --settings JSON --shard I --shards S --out NPY` for the scores of a trainset's passages. With
`--drop-same-id --passages P`, the passage with the id of the query is taken out of every ranking first.

A query's score of a passage is a sum over the systems, of the first `depth` passages of each:

| method | part of a system | passage that it does not rank |
|---|---|---|
| rrf | weight / (k + rank), ranks from 1 in the order of the ranking, ties included | 0 |
| weighted, min_max | weight x (score - lowest) / (highest - lowest); 1 where all scores are equal | 0 |
| weighted, z_score | weight x (score - mean) / deviation (of the population); 0 where all are equal | the lowest |

A system without results for a query adds 0 to all of its passages. Sums are 64-bit floats, in the order of the systems;
a ranking is sorted by them as 32-bit floats, highest first, and ties by passage row, lowest first.

Source: Cormack et al. (2009) for rrf. min_max is the sum of LED's ensemble script and of ranx, except for equal scores,
which are 0 there, so that the only result of a system would count as none; z_score is ranx's zmuv, except for passages
that are not ranked: 0 there, which is the mean, so that not to be found would be better than to be found late.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.examples import Trainset
from led_pipeline.data.pools import with_own
from led_pipeline.data.ragged import Ragged, places
from led_pipeline.data.scores import key, keys_of
from led_pipeline.data.tables import (
    RANKING_GROUP,
    Ranking,
    count_rows,
    read_ranking,
    shard_range,
    write_matrix,
    write_rankings,
)
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import parser_of
from led_pipeline.recipe.systems import Fusion

# Q = query rows first..first + Q - 1, E = entries of a ranking, P = pairs of a query row and a passage row


@dataclass(frozen=True)
class Part:
    """What one system adds to the scores of some queries' passages."""

    keys_E: NDArray[np.int64]  # `scores.key` of its query and passage rows, ascending
    values_E: NDArray[np.float64]
    floor_Q: NDArray[np.float64]  # added to the query's passages that the system does not rank

    def of(self, keys_P: NDArray[np.int64], queries_P: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what the system adds to some pairs; `queries_P` counts from the first query row."""
        values_P = self.floor_Q[queries_P]
        if len(self.keys_E):
            place = np.minimum(np.searchsorted(self.keys_E, keys_P), len(self.keys_E) - 1)
            values_P = np.where(self.keys_E[place] == keys_P, self.values_E[place], values_P)
        return values_P


def fuse(
    rankings: Sequence[Ranking], fusion: Fusion, hits: int | None = None, rows: tuple[int, int] | None = None
) -> Ranking:
    """Return the fused ranking of some queries, those without any result included.

    Args:
        rankings: one per system, in the order of `fusion.systems`; a query may be missing in some of them.
        hits: largest number of passages per query; default: all that any system ranks.
        rows: the query rows start..stop; default: those that any of the rankings has.
    """
    queries = np.unique(np.concatenate([ranking.queries for ranking in rankings]))
    start, stop = rows or (int(queries.min(initial=0)), int(queries.max(initial=-1)) + 1)
    queries = np.arange(start, stop) if rows else queries
    parts = parts_of(rankings, fusion, start, stop)
    keys_P = np.unique(np.concatenate([part.keys_E for part in parts]))
    scores_P, rows_P = total(parts, keys_P, start), (keys_P & 0xFFFF_FFFF).astype(np.int32)
    order = np.lexsort((rows_P, -scores_P, keys_P >> 32))
    first = np.searchsorted(keys_P >> 32, queries)
    lengths = np.searchsorted(keys_P >> 32, queries, side="right") - first
    lengths = lengths if hits is None else np.minimum(lengths, hits)
    best, offsets = order[places(first, lengths)], np.concatenate([[0], np.cumsum(lengths)])
    return Ranking(queries.astype(np.int32), Ragged(rows_P[best], offsets), Ragged(scores_P[best], offsets))


def fuse_lists(
    lists: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], fusion: Fusion, hits: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the fused passage rows and scores of one query.

    Args:
        lists: each system's passage rows, best first, and their scores, in the order of `fusion.systems`.
    """
    alone = np.zeros(1, dtype=np.int32)
    rankings = [
        Ranking(alone, Ragged.from_rows([rows], np.int32), Ragged.from_rows([scores], np.float32))
        for rows, scores in lists
    ]
    _, rows, scores = next(iter(fuse(rankings, fusion, hits)))
    return rows, scores


def parts_of(rankings: Sequence[Ranking], fusion: Fusion, start: int, stop: int) -> list[Part]:
    """Return what every system adds, for the query rows start..stop."""
    return [
        _part(ranking, fusion, weight, start, stop) for ranking, weight in zip(rankings, fusion.weight_of, strict=True)
    ]


def total(parts: Sequence[Part], keys_P: NDArray[np.int64], start: int) -> NDArray[np.float32]:
    """Return the fused scores of some pairs of rows, of which the parts have the queries from row `start` on."""
    queries_P = (keys_P >> 32) - start
    scores_P = np.zeros(len(keys_P))
    for part in parts:
        scores_P += part.of(keys_P, queries_P)
    return scores_P.astype(np.float32)


def _part(ranking: Ranking, fusion: Fusion, weight: float, start: int, stop: int) -> Part:
    ranking = first_passages(ranking, fusion.depth)
    lengths, floor_Q = ranking.passages.lengths, np.zeros(stop - start)
    if fusion.method == "rrf":
        ranks_E = np.arange(len(ranking.passages.values)) - np.repeat(ranking.passages.offsets[:-1], lengths) + 1
        values_E = weight / (fusion.rank_offset + ranks_E)
    else:
        scores_E, filled = ranking.scores.values.astype(np.float64), np.flatnonzero(lengths)
        scale = _z_score if fusion.normalisation == "z_score" else _min_max
        values_E, floors = scale(scores_E, ranking.scores.offsets[:-1][filled], lengths[filled])
        values_E = weight * values_E
        floor_Q[ranking.queries[filled] - start] = weight * floors
    keys_E = keys_of(ranking)
    order = np.argsort(keys_E)
    return Part(keys_E[order], values_E[order], floor_Q)


def _min_max(scores_E: NDArray, starts: NDArray, lengths: NDArray) -> tuple[NDArray, NDArray]:
    """Scale the scores of every list to 0..1; return them, and for each list that of a passage which is not in it."""
    if not len(starts):
        return scores_E, np.zeros(0)
    lowest, highest = np.minimum.reduceat(scores_E, starts), np.maximum.reduceat(scores_E, starts)
    span = highest - lowest
    scaled = (scores_E - np.repeat(lowest, lengths)) / np.repeat(np.where(span > 0, span, 1), lengths)
    return np.where(np.repeat(span > 0, lengths), scaled, 1.0), np.zeros(len(starts))


def _z_score(scores_E: NDArray, starts: NDArray, lengths: NDArray) -> tuple[NDArray, NDArray]:
    """As `_min_max`, to mean 0 and variance 1."""
    if not len(starts):
        return scores_E, np.zeros(0)
    centred = scores_E - np.repeat(np.add.reduceat(scores_E, starts) / lengths, lengths)
    equal = np.minimum.reduceat(scores_E, starts) == np.maximum.reduceat(scores_E, starts)
    deviation = np.where(equal, 1, np.sqrt(np.add.reduceat(centred**2, starts) / lengths))
    scaled = np.where(np.repeat(equal, lengths), 0.0, centred / np.repeat(deviation, lengths))
    return scaled, np.minimum.reduceat(scaled, starts)


def first_passages(ranking: Ranking, depth: int | None) -> Ranking:
    """Return the first `depth` passages of every query (None: all)."""
    if depth is None or (ranking.passages.lengths <= depth).all():
        return ranking
    lengths = np.minimum(ranking.passages.lengths, depth)
    entries = places(ranking.passages.offsets[:-1], lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    passages, scores = (Ragged(column.values[entries], offsets) for column in (ranking.passages, ranking.scores))
    return Ranking(ranking.queries, passages, scores)


def without(ranking: Ranking, excluded: NDArray[np.int64]) -> Ranking:
    """Return a ranking without some pairs of rows, given by their keys."""
    remains = ~np.isin(keys_of(ranking), excluded)
    offsets = np.concatenate([[0], np.cumsum(remains)])[ranking.passages.offsets]
    passages, scores = (Ragged(column.values[remains], offsets) for column in (ranking.passages, ranking.scores))
    return Ranking(ranking.queries, passages, scores)


# --- files


@dataclass(frozen=True)
class Inputs:
    """The rankings that a fusion reads."""

    rankings: Sequence[Path]
    queries: Path
    passages: Path | None = None  # where the passage with the id of the query is left out

    def excluded(self) -> NDArray[np.int64]:
        """Return the keys of the pairs that are left out, ascending."""
        same_id = with_own({}, self.queries, self.passages) if self.passages else {}
        return np.array(sorted(query << 32 | row for query, rows in same_id.items() for row in rows), dtype=np.int64)

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int, list[Ranking]]]:
        """Yield (first, last, rankings) for blocks of query rows, so that memory does not grow with their number."""
        excluded = self.excluded()
        for first in range(start, stop, RANKING_GROUP):
            last = min(first + RANKING_GROUP, stop)
            rankings = [read_ranking(path, first, last) for path in self.rankings]
            yield first, last, [without(ranking, excluded) for ranking in rankings] if len(excluded) else rankings


def ranked(inputs: Inputs, fusion: Fusion, hits: int, start: int, stop: int) -> Iterator[Ranking]:
    """Yield the fused ranking of the query rows start..stop, every one of them, block by block."""
    for first, last, rankings in inputs.blocks(start, stop):
        yield fuse(rankings, fusion, hits, (first, last))


def write_fused(inputs: Inputs, fusion: Fusion, hits: int, shard: tuple[int, int], out: Path) -> None:
    """Write the fused ranking of one shard of the queries.

    Args:
        shard: its number, from 0, and the number of shards.

    Raises:
        InputError: no query has any result.
    """
    queries = passages = 0

    def counted() -> Iterator[Ranking]:
        nonlocal queries, passages
        for part in ranked(inputs, fusion, hits, *shard_range(count_rows(inputs.queries), *shard)):
            queries, passages = queries + int((part.passages.lengths > 0).sum()), passages + len(part.passages.values)
            yield part

    out.parent.mkdir(parents=True, exist_ok=True)
    write_rankings(out, counted())
    if not queries:
        raise InputError(f"{out}: none of {', '.join(map(str, inputs.rankings))} has a result for these queries")
    print(f"{queries:,} queries with {passages:,} passages")


def pair_scores(inputs: Inputs, fusion: Fusion, pairs: Path, shard: tuple[int, int], out: Path) -> None:
    """Write the fused scores of the passages in one shard of a trainset as a flat float32 vector, in row order."""
    queries_P, passages_P = Trainset.read(pairs).pairs(*shard)
    keys_P, scores_P = key(queries_P, passages_P), np.zeros(len(queries_P), dtype=np.float32)
    order = np.argsort(keys_P, kind="stable")
    for first, last, rankings in inputs.blocks(0, count_rows(inputs.queries)):
        low, high = np.searchsorted(keys_P, [first << 32, last << 32], sorter=order)
        scores_P[order[low:high]] = total(parts_of(rankings, fusion, first, last), keys_P[order[low:high]], first)
    print(f"{len(scores_P):,} scores")
    write_matrix(out, scores_P)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuse the rankings of several systems.")
    commands = parser.add_subparsers(dest="command", required=True)
    ranking = commands.add_parser("rank", help="write the fused ranking of a split's queries")
    scoring = commands.add_parser("pair-scores", help="write the fused scores of a trainset's passages")
    for command in (ranking, scoring):
        command.add_argument("--rankings", required=True, type=Path, nargs="+", help="one per system, in their order")
        command.add_argument("--queries", required=True, type=Path)
        command.add_argument("--passages", type=Path, help="needed with --drop-same-id")
        command.add_argument("--settings", required=True, type=parser_of(Fusion))
        command.add_argument("--drop-same-id", action="store_true", help="drop the passage with the id of the query")
        command.add_argument("--shard", type=int, default=0)
        command.add_argument("--shards", type=int, default=1)
        command.add_argument("--out", required=True, type=Path)
    ranking.add_argument("--hits", required=True, type=int)
    scoring.add_argument("--pairs", required=True, type=Path)
    a = parser.parse_args()
    inputs = Inputs(a.rankings, a.queries, a.passages if a.drop_same_id else None)
    if a.command == "rank":
        write_fused(inputs, a.settings, a.hits, (a.shard, a.shards), a.out)
    else:
        pair_scores(inputs, a.settings, a.pairs, (a.shard, a.shards), a.out)


if __name__ == "__main__":
    run_main(main)
