"""The lists of postings of one block, as compiled loops read them: where they are, adding one, looking a passage up.

Plain functions that numba compiles as parts of `term_kernels.search`, which explains them.

Sizes: E = terms in a block, P = its postings, Q = queries of the chunk, W = distinct terms of the chunk, T = terms of
all its queries, K = hits, S = slots for the hits of a query (more than K).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

SPREAD = 8  # a list with more than an eighth of the block's passages is spread out if SPREAD_USES queries need it
SPREAD_USES = 4
SPREAD_LISTS = 256  # at most, per block

F = TypeVar("F", bound=Callable[..., Any])
inlined: Callable[[F], F] = numba.njit(nogil=True, error_model="numpy", forceinline=True)


class Chunk(NamedTuple):
    """Queries that are searched together, and their best passages so far, which a search updates."""

    distinct: NDArray[np.int64]  # (W,), ascending terms
    uses: NDArray[np.int64]  # (W,), the number of queries with the term
    offsets: NDArray[np.int64]  # (Q + 1,)
    places: NDArray[np.int64]  # (T,), the terms of each query as places in `distinct`, in the order of their addition
    weights: NDArray[np.int32]  # (T,), their impacts
    keys: NDArray[np.uint64]  # (Q, S): score << 32 | (2**32 - 1 - row)
    sizes: NDArray[np.int64]  # (Q,), used slots
    thresholds: NDArray[np.int64]  # (Q,), a lower bound of the k-th score; 0 before there are k hits


class Block(NamedTuple):
    """The postings of a block, and where those of the chunk's terms are."""

    rows: NDArray[np.uint16]  # (P,), ascending per term
    impacts: NDArray[np.uint8]  # (P,); or uint16, uint32
    low: NDArray[np.int64]  # (W,), first posting
    high: NDArray[np.int64]  # (W,), end of the postings
    top: NDArray[np.int64]  # (W,), largest impact
    spread: NDArray[np.int64]  # (W,), the row of `dense` with the impacts, or -1
    dense: NDArray[np.uint8]  # (SPREAD_LISTS, passages of a block)
    passages: int
    first: int  # row of its first passage


@inlined
def locate(
    terms: Any, starts: Any, largest: Any, postings: int, highest: int, distinct: Any, low: Any, high: Any, top: Any
) -> None:
    """Fill `low`, `high` and `top` of a block from its ascending terms (E,), starts (E + 1,) and largest impacts (E,).

    Args:
        postings: their number; nothing beyond it is read, even if the block is damaged.
        highest: the largest impact of the block; a term's 65,535 means that it does not fit into 16 bits.
    """
    place, count = np.int64(0), np.int64(len(terms))
    for w in range(len(distinct)):
        term, step = distinct[w], np.int64(1)
        while place + step < count and terms[place + step] < term:
            step *= 2
        below, above = place, min(place + step, count)
        while below < above:
            middle = (below + above) // 2
            if terms[middle] < term:
                below = middle + 1
            else:
                above = middle
        place = below
        low[w] = high[w] = top[w] = 0
        if place < count and terms[place] == term:
            low[w], high[w] = min(starts[place], postings), min(starts[place + 1], postings)
            top[w] = highest if largest[place] == 65_535 else largest[place]


@inlined
def spread_out(block: Any, uses: Any) -> None:
    """Write the long lists that several queries need as one impact per passage: adding those takes vector units."""
    lists = np.int64(0)
    for w in range(len(uses)):
        block.spread[w] = -1
        length = block.high[w] - block.low[w]
        is_long = length * SPREAD > block.passages and block.top[w] < 256
        if uses[w] >= SPREAD_USES and is_long and lists < SPREAD_LISTS:
            block.spread[w] = lists
            block.dense[lists, : block.passages] = 0
            for p in range(np.uint64(block.low[w]), np.uint64(block.high[w])):
                if block.rows[p] < block.passages:
                    block.dense[lists, block.rows[p]] += np.uint8(block.impacts[p])
            lists += 1


@inlined
def effort(block: Any, w: int) -> Any:
    """Return how many postings are added in the time of adding a term's list."""
    return block.passages // SPREAD if block.spread[w] >= 0 else block.high[w] - block.low[w]


@inlined
def add(block: Any, w: int, weight: int, scores: Any) -> None:
    """Add a term's impacts times its weight to the scores."""
    place = block.spread[w]
    if place >= 0 and weight < 32_768:
        factor = np.int32(np.int16(weight))  # 16 bits and 8 bits: a cheaper multiplication
        for row in range(np.uint64(block.passages)):
            scores[row] += factor * np.int32(block.dense[place, row])
        return
    for p in range(np.uint64(block.low[w]), np.uint64(block.high[w])):
        scores[block.rows[p]] += weight * np.int32(block.impacts[p])


@inlined
def impact(block: Any, w: int, row: int) -> Any:
    """Return the impact of a term in a passage, 0 if it is not there."""
    if block.spread[w] >= 0:
        return np.int32(block.dense[block.spread[w], row])
    below, above, end = block.low[w], block.high[w], block.high[w]
    while below < above:
        middle = (below + above) // 2
        if block.rows[middle] < row:
            below = middle + 1
        else:
            above = middle
    total = np.int32(0)
    while below < end and block.rows[below] == row:
        total += np.int32(block.impacts[below])
        below += 1
    return total
