"""Queries one by one: the rank of the first relevant passage in every system, and what kind of query it is.

A query has its length in words, the share of its words that a relevant passage contains, and BM25's rank; the page
groups queries by each of them. Words are runs of letters and digits without regard to case, so in scripts without
spaces a whole clause is one word.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.tables import read_column, read_rankings, read_some, rows_of
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout

WORD = re.compile(r"\w+")
SHARES = (0.25, 0.5, 0.75)  # edges of the groups by overlap, between none and all
RANKS = (1, 3, 10, 100)  # last ranks of the groups by BM25's rank
LENGTHS = 5  # groups by length, of about equal size


@dataclass(frozen=True)
class Groups:
    """A way to group queries."""

    title: str
    names: list[str]  # of the groups, in order
    of: NDArray[np.int64]  # (Q,) group of each query; -1 where it is not known


@dataclass(frozen=True)
class Queries:
    """The judged queries of a split, in the order of its queries."""

    split: str
    measure: str
    frame: pd.DataFrame  # qid, text, words, overlap (NaN where no positive is known)
    values: pd.DataFrame  # the measure, a column per system
    ranks: pd.DataFrame  # of the first relevant passage, a column per system; NaN: not within the depth
    groups: list[Groups]

    @property
    def systems(self) -> list[str]:
        return [str(name) for name in self.values.columns]


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return WORD.findall(text.casefold())


def overlap(query: str, passages: Collection[str]) -> float:
    """Return the share of a query's distinct words that a passage contains, of the passage with most; NaN without."""
    vocabulary = set(words(query))
    if not vocabulary or not passages:
        return float("nan")
    return max(len(vocabulary & set(words(passage))) for passage in passages) / len(vocabulary)


def first_ranks(
    path: Path, relevant: Mapping[int, list[int]], excluded: Mapping[int, int], depth: int, count: int
) -> NDArray[np.float64]:
    """Return the rank of each query's first relevant passage in a ranking, counted as in the run file.

    Args:
        relevant: query row -> passage rows.
        excluded: query row -> the passage row that the run leaves out.
        depth: that of the run; NaN where no relevant passage is within it.
        count: number of query rows Q.
    """
    ranks_Q = np.full(count, np.nan)
    for query, hits, _ in chain.from_iterable(read_rankings(path)):
        if rows := relevant.get(query):
            ranked = (hits[hits != excluded[query]] if query in excluded else hits)[:depth]
            places = np.flatnonzero(np.isin(ranked, rows))
            ranks_Q[query] = places[0] + 1 if len(places) else np.nan
    return ranks_Q


def read_queries(
    recipe: Recipe, results: Path, split: str, measure: str, tables: Mapping[str, PerQuery]
) -> Queries | None:
    """Return the queries of a split with the systems that were measured on it; None if a file of the split is missing.

    Args:
        tables: measures per query of every system.
    """
    layout = Layout(results)
    paths = [Path(layout.queries(split)), Path(layout.qrels(split)), Path(layout.passages)]
    if not tables or not all(path.exists() for path in paths):
        return None
    ids, texts = read_column(paths[0], "id"), read_column(paths[0], "text")
    judgements = load_qrels(paths[1])
    least = recipe.dataset.splits[split].relevant_from
    grades = {row: judgements[qid] for row, qid in enumerate(ids) if qid in judgements}
    positives = {row: [pid for pid, grade in each.items() if grade >= least] for row, each in grades.items()}
    twins = {row: ids[row] for row in positives} if recipe.dataset.exclude_query_id else {}
    row_of = rows_of(paths[2], {pid for pids in positives.values() for pid in pids} | set(twins.values()))
    relevant = {query: [row_of[pid] for pid in pids if pid in row_of] for query, pids in positives.items()}
    excluded = {query: row_of[qid] for query, qid in twins.items() if qid in row_of}
    ranks = {}
    for system in tables:
        path = Path(layout.ranking(system, split))
        if path.exists():
            ranks[system] = first_ranks(path, relevant, excluded, recipe.evaluation.depth, len(ids))
    rows = list(positives)
    bodies = read_some(paths[2], {row for each in relevant.values() for row in each}, ["title", "text"])
    overlaps = [overlap(texts[q], [" ".join(bodies[row].values()) for row in relevant[q]]) for q in rows]
    frame = pd.DataFrame(
        {
            "qid": [ids[row] for row in rows],
            "text": [texts[row] for row in rows],
            "words": [len(words(texts[row])) for row in rows],
            "overlap": overlaps,
        }
    )
    values = pd.DataFrame({name: [each[ids[row]][measure] for row in rows] for name, each in tables.items()})
    by_system = pd.DataFrame({name: each[rows] for name, each in ranks.items()})
    return Queries(split, measure, frame, values, by_system, groupings(frame, by_system, recipe.evaluation.depth))


def groupings(frame: pd.DataFrame, ranks: pd.DataFrame, depth: int) -> list[Groups]:
    """Return the ways to group queries: by length, by overlap, and by BM25's rank if it has a ranking."""
    ways = [by_length(frame["words"].to_numpy()), by_overlap(frame["overlap"].to_numpy())]
    return [*ways, by_rank(ranks["bm25"].to_numpy(), depth)] if "bm25" in ranks else ways


def by_length(words_Q: NDArray[np.int64]) -> Groups:
    """Group queries by their number of words, into groups of about equal size; equal lengths are never separated."""
    lasts = np.unique(np.quantile(words_Q, np.arange(1, LENGTHS + 1) / LENGTHS, method="higher"))
    firsts = [int(words_Q.min()), *(int(last) + 1 for last in lasts[:-1])]
    names = [span(first, int(last)) for first, last in zip(firsts, lasts, strict=True)]
    return Groups("words in the query", names, np.searchsorted(lasts, words_Q))


def by_overlap(share_Q: NDArray[np.float64]) -> Groups:
    """Group queries by the share of their words that a relevant passage contains; none and all are groups, too."""
    names = ["none", "up to 25 %", "up to 50 %", "up to 75 %", "below 100 %", "all"]
    share = np.nan_to_num(share_Q, nan=0.0)
    group = np.where(share == 0, 0, np.where(share == 1, 5, 1 + np.searchsorted(SHARES, share)))
    return Groups("query words in a relevant passage", names, np.where(np.isnan(share_Q), -1, group))


def by_rank(rank_Q: NDArray[np.float64], depth: int) -> Groups:
    """Group queries by BM25's rank of the first relevant passage."""
    lasts = [last for last in RANKS if last < depth] + [depth]
    names = [span(first, last) for first, last in zip([1, *(last + 1 for last in lasts)], lasts, strict=False)]
    group = np.searchsorted(lasts, np.nan_to_num(rank_Q, nan=depth + 1.0))
    return Groups("BM25’s rank of the first relevant passage", [*names, f"not in {depth:,}"], group)


def span(first: int, last: int) -> str:
    """Return a range of whole numbers as text."""
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"


def group_means(queries: Queries, groups: Groups, systems: Sequence[str]) -> pd.DataFrame:
    """Return the number of queries and the mean of some systems per group, for groups that have queries."""
    grouped = groups.of >= 0
    by_group = queries.values.loc[grouped, list(systems)].groupby(groups.of[grouped])
    means = by_group.mean()
    means.insert(0, "queries", by_group.size())
    means.index = pd.Index([groups.names[i] for i in means.index], name=groups.title)
    return means
