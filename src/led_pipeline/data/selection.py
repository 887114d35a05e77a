"""Selection: which of the judged queries a split keeps."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """Which of the judged queries to keep."""

    positive: bool = False  # only queries with a grade above 0, since training starts from a positive
    limit: int | None = None
    seed: int = 42
    held_out: int = 0  # the first so many of the sample's order belong to other splits


def sample(ids: Iterable[str], limit: int | None, seed: int, held_out: int = 0) -> set[str]:
    """Draw `limit` ids, those with the smallest hashes of seed and id: the order of the ids plays no part.

    Those that are held out come first in that order; without a limit all others are kept.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    order = sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(order[held_out : None if limit is None else held_out + limit])


def select(
    queries: Iterable[str], grades: dict[str, dict[str, int]] | None, which: Selection
) -> tuple[set[str], Counter]:
    """Return the ids of the queries to keep, and how many were left out for which reason.

    Args:
        queries: all ids.
        grades: judgements by qid and pid; None if there are no qrels, and then every query counts as judged.
    """
    everything = list(queries)
    judged = everything if grades is None else [qid for qid in everything if qid in grades]
    wanted = (
        [qid for qid in judged if max(grades[qid].values()) > 0] if which.positive and grades is not None else judged
    )
    every = which.limit is None and not which.held_out
    kept = set(wanted) if every else sample(wanted, which.limit, which.seed, which.held_out)
    left_out = Counter(
        queries_not_judged=len(everything) - len(judged),
        queries_without_positive=len(judged) - len(wanted),
        queries_not_sampled=len(wanted) - len(kept),
    )
    return kept, left_out
