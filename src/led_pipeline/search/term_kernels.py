"""Loops over postings that numba compiles: add up scores block by block, and keep the best passages of every query.

`kernel` turns `search` into machine code, once per machine; it alone imports this module, since importing numba takes
half a second. A block is searched for all queries of a chunk before the next one, so that its postings stay in the
processor's cache. The scores of a query are one 32-bit integer per passage of the block.

A term's bound is its impact in the query times its largest impact in the block. When the bounds of the remaining terms
cannot lift a passage that has none of the others above the query's k-th score, the passages that they still can lift
are counted: with none, the rest of the block is skipped; a few are completed one by one. Blocks come in the order of
rows, so a passage must exceed the k-th score: with an equal one, the earlier row wins. Nothing is approximate.

Sizes: Q = queries of the chunk, W = its distinct terms, T = terms of all its queries, K = hits.
"""

from typing import Any

import numba
import numpy as np

from led_pipeline.search.posting_lists import (
    SPREAD_LISTS,
    Block,
    Chunk,
    add,
    effort,
    impact,
    inlined,
    locate,
    spread_out,
)

FEW = 64  # passages that are completed one by one
PROBE = 80  # postings that are added in the time of one look-up in a list
RECOUNT = 1_024  # postings to add before passages are counted again
WORTHWHILE = 2_048  # postings; if fewer are left, they are all added
GROUP = 16  # passages that are compared with the threshold at once
MOST_ROWS = 65_536  # of a block, whose rows have 16 bits: no damaged row leaves the scores


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
    count = np.int64(0)
    for h in range(few):
        row = rows[h]
        rows[count] = row
        count += np.int64(scores[row] > threshold)
    return count


@inlined
def score(block: Any, chunk: Any, query: int, scores: Any, hits: Any, rest: Any, prune: bool) -> Any:
    """Add up the scores of a query; return how many passages of `hits` may exceed its threshold, -1 if all may.

    Args:
        scores: (MOST_ROWS,), zeros before.
        hits: scratch for rows.
        rest: scratch, the sum of the bounds of the terms after each one.
    """
    begin, end = chunk.offsets[query], chunk.offsets[query + 1]
    bound, left = np.int64(0), np.int64(0)
    for t in range(end - begin - 1, -1, -1):
        w = chunk.places[begin + t]
        rest[t] = bound
        bound += chunk.weights[begin + t] * block.top[w]
        left += effort(block, w)
    threshold = chunk.thresholds[query]
    if bound <= (threshold if prune else np.int64(0)):
        return np.int64(0)
    few: Any = np.int64(-1)
    next_look = left  # postings that are left when passages are counted next
    for t in range(end - begin):
        w, weight = chunk.places[begin + t], chunk.weights[begin + t]
        length = block.high[w] - block.low[w]
        if length == 0:
            continue
        left -= effort(block, w)
        if few < 0 or (block.spread[w] < 0 and few * PROBE >= length):
            add(block, w, weight, scores)
        else:
            for h in range(few):
                scores[hits[h]] += weight * impact(block, w, hits[h])
        if few >= 0:
            few = remaining(scores, threshold - rest[t], hits, few)
        elif prune and rest[t] <= threshold and left <= next_look and left > WORTHWHILE:
            number = count_above(scores, block.passages, threshold - rest[t])
            next_look = left // 2 if number > 4 * FEW else left - RECOUNT
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
    count = len(chunk.distinct)
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
            locate(terms.view(np.uint16), starts, largest, postings, highest, chunk.distinct, low, high, top)
        else:
            locate(terms.view(np.uint32), starts, largest, postings, highest, chunk.distinct, low, high, top)
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
