"""Turn the margins between positives and negatives of a query into scores of its passages.

A margin is score(positive) - score(negative), so scores are determined up to a constant: the positive of a query's
first pair gets 0. If the margins are consistent, the scores have exactly these gaps. If they contradict each other (the
pairs form a cycle, or one pair has two margins), the scores minimise the sum of squared errors. Passages that no chain
of pairs connects with the first positive form a separate component, whose first positive gets 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import spsolve

Pair = tuple[str, str, float]  # positive, negative, margin
CHUNK = 65_536  # lines held as Python objects at a time


def solve(pairs: Sequence[Pair]) -> tuple[list[str], list[float]]:
    """Return the passages of one query's pairs, in order of appearance, and their scores.

    The scores minimise the sum of (score of positive - score of negative - margin)^2.
    """
    place: dict[str, int] = {}
    for positive, negative, _ in pairs:
        place.setdefault(positive, len(place))
        place.setdefault(negative, len(place))
    high = np.array([place[positive] for positive, _, _ in pairs])
    low = np.array([place[negative] for _, negative, _ in pairs])
    margins, size = [pair[2] for pair in pairs], len(place)
    if (high == high[0]).all():  # one positive, as in GPL: nothing to solve
        counts = np.bincount(low, minlength=size)
        return list(place), (-np.bincount(low, margins, size) / np.maximum(counts, 1)).astype(np.float32).tolist()
    graph = coo_array((np.ones(len(pairs)), (high, low)), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    free = np.ones(size, dtype=bool)
    free[np.unique(part, return_index=True)[1]] = False  # the first of each part to appear, which is a positive
    # The normal equations: each passage's score balances the margins of its pairs.
    balance = np.bincount(high, margins, size) - np.bincount(low, margins, size)
    scores = np.zeros(size)
    scores[free] = spsolve(laplacian(graph + graph.T).tocsc()[free][:, free], balance[free])
    return list(place), scores.astype(np.float32).tolist()


def by_query(rows: Iterable[tuple[str, str, str, float]]) -> Iterator[tuple[str, list[Pair]]]:
    """Group (query, positive, negative, margin) rows, in any order, by query; a query's pairs keep their order.

    Queries come in the order of their first rows. All rows are held as Arrow columns.
    """
    rows, chunks, number = iter(rows), [], dict[str, int]()
    while lines := list(islice(rows, CHUNK)):
        queries, positives, negatives, margins = zip(*lines, strict=True)
        codes = np.array([number.setdefault(query, len(number)) for query in queries], dtype=np.int32)
        ids = [pa.array(column, pa.large_string()) for column in (positives, negatives)]
        chunks.append(pa.record_batch([pa.array(codes), *ids, pa.array(margins, pa.float64())], [*"qpnm"]))
    if not chunks:
        return
    table = pa.Table.from_batches(chunks).sort_by("q")  # stable
    ends = np.cumsum(np.bincount(table["q"].to_numpy(), minlength=len(number)))
    for query, start, stop in zip(number, np.append(0, ends), ends, strict=False):
        part = table.slice(start, stop - start)
        yield query, list(zip(*(part[name].to_pylist() for name in "pnm"), strict=True))
