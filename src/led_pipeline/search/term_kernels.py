"""Loops over postings that numba compiles: add up scores block by block, and keep the best passages of every query.

`kernel` turns `search` into machine code, once per machine; it alone imports this module, since importing numba takes
half a second. A block is searched for all queries of a chunk before the next one, so that its postings stay in the
processor's cache. The scores of a query are one 32-bit integer per passage of the block.

A term's bound is its impact in the query times its largest impact in the block. When the bounds of the remaining terms
cannot lift a passage that has none of the others above the query's k-th score, the passages that they still can lift
are counted: with none, the rest of the block is skipped; a few are completed one by one. Blocks come in the order of
rows, so a passage must exceed the k-th score: with an equal one, the earlier row wins. Nothing is approximate.

Sizes: E = terms in a block, P = its postings, Q = queries of the chunk, W = distinct terms of the chunk, T = terms of
all its queries, K = hits, S = slots for the hits of a query (more than K).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

FEW = 64  # passages that are completed one by one
PROBE = 80  # postings that are added in the time of one look-up in a list
SPREAD = 8  # a list with more than an eighth of the block's passages is spread out if SPREAD_USES queries need it
SPREAD_USES = 4
SPREAD_LISTS = 256  # at most, per block
RECOUNT = 1_024  # postings to add before passages are counted again
GROUP = 16  # passages that are compared with the threshold at once
MOST_ROWS = 65_536  # of a block, whose rows have 16 bits: no damaged row leaves the scores

F = TypeVar("F", bound=Callable[..., Any])
inlined: Callable[[F], F] = numba.njit(nogil=True, error_model="numpy", forceinline=True)


class Chunk(NamedTuple):
    """Queries that are searched together, and their best passages so far, which a search updates."""

    wanted: NDArray[np.int64]  # (W,), ascending terms
    uses: NDArray[np.int64]  # (W,), the number of queries with the term
    offsets: NDArray[np.int64]  # (Q + 1,)
    places: NDArray[np.int64]  # (T,), the terms of each query as places in `wanted`, in the order of their addition
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
    terms: Any, starts: Any, largest: Any, postings: int, highest: int, wanted: Any, low: Any, high: Any, top: Any
) -> None:
    """Fill `low`, `high` and `top` of a block from its ascending terms (E,), starts (E + 1,) and largest impacts (E,).

    Args:
        postings: their number; nothing beyond it is read, even if the block is damaged.
        highest: the largest impact of the block; a term's 65,535 means that it does not fit into 16 bits.
    """
    place, count = np.int64(0), np.int64(len(terms))
    for w in range(len(wanted)):
        term, step = wanted[w], np.int64(1)
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
def add(block: Any, w: int, weight: int, scores: Any) -> Any:
    """Add a term's impacts times its weight to the scores; return how many postings take that time."""
    place = block.spread[w]
    if place >= 0 and weight < 32_768:
        factor = np.int32(np.int16(weight))  # 16 bits and 8 bits: a cheaper multiplication
        for row in range(np.uint64(block.passages)):
            scores[row] += factor * np.int32(block.dense[place, row])
        return block.passages // SPREAD
    for p in range(np.uint64(block.low[w]), np.uint64(block.high[w])):
        scores[block.rows[p]] += weight * np.int32(block.impacts[p])
    return block.high[w] - block.low[w]


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


@inlined
def count_above(scores: Any, count: int, threshold: int) -> Any:
    """Return how many scores exceed a threshold."""
    hits, least = np.int32(0), np.int32(threshold)
    for row in range(np.uint64(count)):
        hits += np.int32(scores[row] > least)
    return hits


@inlined
def list_above(scores: Any, count: int, threshold: int, rows: Any) -> Any:
    """Write the rows of scores that exceed a threshold, in order; return their number."""
    hits, least = np.int64(0), np.int32(threshold)
    for start in range(0, count, GROUP):
        some = np.int32(0)
        for place in range(np.uint64(GROUP)):
            some |= np.int32(scores[np.uint64(start) + place] > least)
        if some:
            for row in range(np.uint64(start), np.uint64(start + GROUP)):  # zeros follow the last passage
                rows[hits] = row
                hits += np.int64(scores[row] > least)
    return hits


@inlined
def remaining(scores: Any, threshold: int, rows: Any, few: int) -> Any:
    """Keep those of the listed rows whose scores exceed a threshold; return their number."""
    kept = np.int64(0)
    for h in range(few):
        row = rows[h]
        rows[kept] = row
        kept += np.int64(scores[row] > threshold)
    return kept


@inlined
def score(block: Any, chunk: Any, query: int, scores: Any, hits: Any, rest: Any, prune: bool) -> Any:
    """Add up the scores of a query; return how many passages of `hits` may exceed its threshold, -1 if all may.

    Args:
        scores: (MOST_ROWS,), zeros before.
        hits: scratch for rows.
        rest: scratch, the sum of the bounds of the terms after each one.
    """
    begin, end = chunk.offsets[query], chunk.offsets[query + 1]
    bound = np.int64(0)
    for t in range(end - begin - 1, -1, -1):
        rest[t] = bound
        bound += chunk.weights[begin + t] * block.top[chunk.places[begin + t]]
    threshold = chunk.thresholds[query]
    if bound <= (threshold if prune else np.int64(0)):
        return np.int64(0)
    few: Any = np.int64(-1)
    work: Any = np.int64(RECOUNT)
    for t in range(end - begin):
        w, weight = chunk.places[begin + t], chunk.weights[begin + t]
        length = block.high[w] - block.low[w]
        if length == 0:
            continue
        if few < 0 or (block.spread[w] < 0 and few * PROBE >= length):
            work += add(block, w, weight, scores)
        else:
            for h in range(few):
                scores[hits[h]] += weight * impact(block, w, hits[h])
        if few >= 0:
            few = remaining(scores, threshold - rest[t], hits, few)
        elif prune and rest[t] <= threshold and work >= RECOUNT and t + 1 < end - begin:
            work = np.int64(0)
            number = count_above(scores, block.passages, threshold - rest[t])
            if number <= FEW:
                few = list_above(scores, block.passages, threshold - rest[t], hits)
        if few == 0:
            break
    return few


@inlined
def select(keys: Any, query: int, size: int, k: int) -> None:
    """Move the k largest of a query's first `size` keys to the front, the smallest of them to place k - 1."""
    low, high = np.int64(0), size - 1
    while low < high:
        a, b, c = keys[query, low], keys[query, (low + high) // 2], keys[query, high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[query, i] > pivot:
                i += 1
            while keys[query, j] < pivot:
                j -= 1
            if i <= j:
                keys[query, i], keys[query, j] = keys[query, j], keys[query, i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@inlined
def keep(block: Any, chunk: Any, query: int, scores: Any, hits: Any, few: int, k: int) -> None:
    """Add the listed passages above the threshold to a query's hits; when the slots are full, raise the threshold."""
    threshold, size = chunk.thresholds[query], chunk.sizes[query]
    for h in range(few):
        row = hits[h]
        if scores[row] > threshold:
            least = np.uint64(0xFFFF_FFFF - block.first - row)
            chunk.keys[query, size] = np.uint64(scores[row]) << np.uint64(32) | least
            size += 1
            if size == chunk.keys.shape[1]:
                select(chunk.keys, query, size, k)
                size = np.int64(k)
                threshold = np.int64(chunk.keys[query, k - 1] >> np.uint64(32))
    chunk.sizes[query], chunk.thresholds[query] = size, threshold


@inlined
def search_block(block: Any, chunk: Any, scores: Any, hits: Any, rest: Any, k: int, prune: bool) -> None:
    """Search one block for all queries of a chunk."""
    spread_out(block, chunk.uses)
    for query in range(len(chunk.sizes)):
        few = score(block, chunk, query, scores, hits, rest, prune)
        if few < 0:
            few = list_above(scores, block.passages, chunk.thresholds[query], hits)
        if few > 0:
            keep(block, chunk, query, scores, hits, few, k)
        scores[: block.passages] = 0


def search(
    data: Any, table: Any, term_bytes: int, block_rows: int, passages: int, start: int, stop: int, chunk: Any, k: int,
    prune: bool,
) -> None:  # fmt: skip
    """Search the blocks from `start` to before `stop` for a chunk of queries.

    Args:
        data: the bytes of a posting file.
        table: its table of blocks, see `posting_file`.
        prune: False computes every score; the result is the same.
    """
    scores, hits = np.zeros(MOST_ROWS, np.int32), np.empty(MOST_ROWS + 1, np.int64)
    count = len(chunk.wanted)
    low, high, top = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    spread, dense = np.empty(count, np.int64), np.empty((SPREAD_LISTS, block_rows), np.uint8)
    rest = np.empty(len(chunk.places) + 1, np.int64)
    for b in range(start, stop):
        entries, postings, width, highest = table[b, 0], table[b, 1], table[b, 2], table[b, 3]
        starts = data[table[b, 5] : table[b, 5] + 4 * (entries + 1)].view(np.uint32)
        largest = data[table[b, 6] : table[b, 6] + 2 * entries].view(np.uint16)
        rows = data[table[b, 7] : table[b, 7] + 2 * postings].view(np.uint16)
        impacts = data[table[b, 8] : table[b, 8] + width * postings]
        terms = data[table[b, 4] : table[b, 4] + term_bytes * entries]
        if term_bytes == 2:
            locate(terms.view(np.uint16), starts, largest, postings, highest, chunk.wanted, low, high, top)
        else:
            locate(terms.view(np.uint32), starts, largest, postings, highest, chunk.wanted, low, high, top)
        first = b * block_rows
        size = min(block_rows, passages - first)
        if width == 1:
            block8 = Block(rows, impacts, low, high, top, spread, dense, size, first)
            search_block(block8, chunk, scores, hits, rest, k, prune)
        elif width == 2:
            block16 = Block(rows, impacts.view(np.uint16), low, high, top, spread, dense, size, first)
            search_block(block16, chunk, scores, hits, rest, k, prune)
        else:
            block32 = Block(rows, impacts.view(np.uint32), low, high, top, spread, dense, size, first)
            search_block(block32, chunk, scores, hits, rest, k, prune)


def signature() -> Any:
    """Return the types that `search` is compiled for."""
    integer, vector = numba.types.int64, numba.types.Array(numba.types.int64, 1, "C")
    weights, keys = numba.types.Array(numba.types.int32, 1, "C"), numba.types.Array(numba.types.uint64, 2, "C")
    chunk = numba.types.NamedTuple([vector, vector, vector, vector, weights, keys, vector, vector], Chunk)
    data = numba.types.Array(numba.types.uint8, 1, "C", readonly=True)
    table = numba.types.Array(numba.types.int64, 2, "C", readonly=True)
    return numba.void(data, table, *[integer] * 5, chunk, integer, numba.boolean)
