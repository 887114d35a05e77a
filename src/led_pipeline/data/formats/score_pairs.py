"""Score pairs: margins between positives and negatives of a query, made into scores of its passages.

A margin is score(positive) - score(negative), so scores are known up to a constant: the positive of a query's first
pair counts as 0. Where margins agree the scores have exactly these gaps. Where they contradict each other (the pairs
come round in a circle, or one pair has two margins), the sum of their squared errors is as small as can be. Passages
that no chain of pairs connects with the first positive are a part of their own, with its own first positive at 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import spsolve

Pair = tuple[str, str, float]  # positive, negative, margin
CHUNK = 65_536  # lines that are Python objects at a time


def solve(pairs: Sequence[Pair]) -> tuple[list[str], list[float]]:
    """Return the passages of one query's pairs, in order of appearance, and their scores.

    The scores minimise the sum of (score of positive - score of negative - margin)^2.
    """
    place: dict[str, int] = {}
    for positive, negative, _ in pairs:
        place.setdefault(positive, len(place))
        place.setdefault(negative, len(place))
    high, low = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    margins, size = [pair[2] for pair in pairs], len(place)
    if (high == high[0]).all():  # one positive, as in GPL: nothing to solve
        counts = np.bincount(low, minlength=size)
        return list(place), (-np.bincount(low, margins, size) / np.maximum(counts, 1)).astype(np.float32).tolist()
    graph = coo_array((np.ones(len(pairs)), (high, low)), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    free = np.ones(size, dtype=bool)
    free[np.unique(part, return_index=True)[1]] = False  # the first of each part to appear, which is a positive
    # The normal equations: each passage's score balances what its pairs ask for.
    wanted = np.bincount(high, margins, size) - np.bincount(low, margins, size)
    scores = np.zeros(size)
    scores[free] = spsolve(laplacian(graph + graph.T).tocsc()[free][:, free], wanted[free])
    return list(place), scores.astype(np.float32).tolist()


def by_query(rows: Iterable[tuple[str, str, str, float]]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield each query of (query, positive, negative, margin) rows in any order with its pairs, in their order.

    All rows are held as Arrow columns, the queries in the order in which they come first.
    """
    rows, chunks, number = iter(rows), [], dict[str, int]()
    while part := list(islice(rows, CHUNK)):
        queries, positives, negatives, margins = zip(*part, strict=True)
        codes = np.array([number.setdefault(query, len(number)) for query in queries], dtype=np.int32)
        ids = [pa.array(column, pa.large_string()) for column in (positives, negatives)]
        chunks.append(pa.record_batch([pa.array(codes), *ids, pa.array(margins, pa.float64())], [*"qpnm"]))
    if not chunks:
        return
    table = pa.Table.from_batches(chunks).sort_by("q")  # stable
    ends = np.cumsum(np.bincount(table["q"].to_numpy(), minlength=len(number)))
    for query, start, stop in zip(number, np.append(0, ends), ends, strict=False):
        found = table.slice(start, stop - start)
        yield query, list(zip(*(found[name].to_pylist() for name in "pnm"), strict=True))
