"""Select the queries of a split: judged ones, with a positive if needed, and a seeded sample of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """Which judged queries a split keeps."""

    positive: bool = False  # only queries with a grade above 0: a training example needs a positive
    limit: int | None = None
    seed: int = 42
    held_out: int = 0  # queries at the start of the sample's order that belong to other splits


def sample(ids: Iterable[str], limit: int | None, seed: int, held_out: int = 0) -> set[str]:
    """Draw the `limit` ids with the smallest hashes of seed and id, whatever the order of the ids.

    The first `held_out` ids in the order of the hashes are left out; without a limit all others are kept.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    order = sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(order[held_out : None if limit is None else held_out + limit])


def select(
    queries: Iterable[str], grades: dict[str, dict[str, int]] | None, selection: Selection
) -> tuple[set[str], Counter[str]]:
    """Return the ids of the selected queries, and the number of queries left out for each reason.

    Args:
        queries: all ids.
        grades: judgements by qid and pid; None without qrels, in which case every query counts as judged.
    """
    ids = list(queries)
    judged = ids if grades is None else [qid for qid in ids if qid in grades]
    eligible = judged
    if selection.positive and grades is not None:
        eligible = [qid for qid in judged if max(grades[qid].values()) > 0]
    if selection.limit is None and not selection.held_out:
        selected = set(eligible)
    else:
        selected = sample(eligible, selection.limit, selection.seed, selection.held_out)
    left_out = Counter(
        queries_not_judged=len(ids) - len(judged),
        queries_without_positive=len(judged) - len(eligible),
        queries_not_sampled=len(eligible) - len(selected),
    )
    return selected, left_out
