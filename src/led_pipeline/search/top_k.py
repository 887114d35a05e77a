"""Select the best k of many scored passages with numpy, ties broken by passage row.

A hit is packed into an unsigned 64-bit key that sorts best first: the upper half falls as the score rises, the lower
half is the passage row. Keys of one query are distinct, so the best k do not depend on the order of the hits or on the
blocks in which they arrive.
"""

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking

NONE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # sorts after every hit
_SIGN = np.uint32(0x8000_0000)


def pack(scores: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return one key per hit; a smaller key is a better hit. Scores must not be NaN; rows must fit into 32 bits."""
    bits = (scores.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    rising = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (~rising).astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)


def unpack(keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the scores and the rows of keys."""
    rising = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising & _SIGN, rising ^ _SIGN, ~rising)
    return bits.view(np.float32), (keys & np.uint64(0xFFFF_FFFF)).astype(np.int32)


def best(keys: NDArray[np.uint64], k: int) -> NDArray[np.uint64]:
    """Return the k smallest keys along the last axis, unordered; all of them if there are at most k."""
    return keys if keys.shape[-1] <= k else np.partition(keys, k - 1, axis=-1)[..., :k]


def to_ranking(keys_QK: NDArray[np.uint64], ordered: bool = False) -> Ranking:
    """Return the ranking of query rows 0..Q-1 from their best keys, padded with `NONE`.

    Args:
        ordered: whether the keys of each query are in order already.
    """
    keys_QK = keys_QK if ordered else np.sort(keys_QK, axis=1)
    hits = keys_QK != NONE
    offsets = np.zeros(len(keys_QK) + 1, dtype=np.int64)
    np.cumsum(hits.sum(axis=1), out=offsets[1:])
    scores, rows = unpack(keys_QK[hits])
    return Ranking(np.arange(len(keys_QK), dtype=np.int32), Ragged(rows, offsets), Ragged(scores, offsets))
