"""Sort 64-bit hashes together with their rows in 8 bytes an entry.

An entry holds the high bits of a hash, and in its low bits, which are as many as the rows need, the row. Hashes that
agree in the high bits are neighbours once the entries are sorted; whoever asks compares what was hashed, because high
bits also agree by chance: 138 million rows leave 36 bits of each hash, which agree in about 140,000 pairs.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # entries that are handled at once

Entries = NDArray[np.uint64]


def pack(hashes: Entries) -> int:
    """Turn hashes into entries, the row of each being its position, and sort them, in place; return the bits of a row.

    Memory: none beside the array.
    """
    bits = max(1, (len(hashes) - 1).bit_length())
    for start in range(0, len(hashes), BLOCK):
        part = hashes[start : start + BLOCK]
        part[:] = high(part, bits) | np.arange(start, start + len(part), dtype=np.uint64)
    hashes.sort()
    return bits


def high(hashes: Entries, bits: int) -> Entries:
    """Return hashes, or entries, with 0 in the bits of the row."""
    cleared: Entries = hashes >> np.uint64(bits) << np.uint64(bits)
    return cleared


def rows(entries: Entries, bits: int) -> NDArray[np.int64]:
    """Return the row of each entry."""
    return (entries & np.uint64((1 << bits) - 1)).astype(np.int64)


def candidates(entries: Entries, bits: int) -> NDArray[np.int64]:
    """Return the rows whose hash agrees in the high bits with the hash of another row, ascending."""
    parts = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(entries), BLOCK):
        part = high(entries[max(start - 1, 0) : start + BLOCK + 1], bits)  # with the neighbours on both sides
        same = part[1:] == part[:-1]
        agrees = np.append(same, False) | np.append(False, same)
        inside = slice(min(start, 1), min(start, 1) + min(BLOCK, len(entries) - start))
        places = start + np.flatnonzero(agrees[inside])
        parts.append(rows(entries[places], bits))
    return np.sort(np.concatenate(parts))
