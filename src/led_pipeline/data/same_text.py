"""Find passages with the same text, and the positives that this puts among the negatives of a batch.

Two passages have the same text if their titles and texts are equal once white space is normalised: every run of it
becomes one blank, and the ends are stripped. Differences in case, accents or punctuation count, even if a tokenizer
drops them. `passages.parquet` holds a hash per passage (`contents`), so that comparisons read and hold no text.

# B = queries of a batch, C = passages of one query (positive first), N = B x C passages of the batch
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data import packed
from led_pipeline.data.opened import parquet
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import CONTENT, count_rows
from led_pipeline.data.tokens import TokenStore


def contents(titles: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Return a 64-bit hash of each passage's title and text, the same on every machine.

    In a collection of 8.8 million different passages, two share a hash by chance once in 500,000 collections.
    """
    joined = (
        "\n".join((" ".join(title.split()), " ".join(text.split()))) for title, text in zip(titles, texts, strict=True)
    )
    return [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) for text in joined]


def with_contents(passages: dict[str, list[str]]) -> dict[str, list[str] | list[int]]:
    """Add the column of `contents` to columns with title and text."""
    return {**passages, CONTENT: contents(passages["title"], passages["text"])}


def first_rows(passages: Path) -> NDArray[np.int32]:
    """Return for every row of passages.parquet the first row with its text: itself, unless it is a copy.

    Memory: 12 bytes a passage while the hashes are sorted, 4 afterwards; about 75 more for each that has a copy.
    """
    entries = np.empty(count_rows(passages), dtype=np.uint64)
    for start, numbers in _contents_of(passages):
        entries[start : start + len(numbers)] = numbers.view(np.uint64)
    copies = packed.candidates(entries, packed.pack(entries))
    del entries
    parts = [np.empty(0, dtype=np.int64)]
    for start, numbers in _contents_of(passages):
        low, high = np.searchsorted(copies, [start, start + len(numbers)])
        parts.append(numbers[copies[low:high] - start])
    _, first, inverse = np.unique(np.concatenate(parts), return_index=True, return_inverse=True)
    rows = np.arange(count_rows(passages), dtype=np.int32)
    rows[copies] = copies[first[inverse]]
    return rows


def _contents_of(passages: Path) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the numbers of `contents`, row group by row group, each with the row of the first."""
    start = 0
    with parquet(passages) as file:
        for group in range(file.num_row_groups):
            numbers = file.read_row_group(group, columns=[CONTENT])[CONTENT].to_numpy()
            yield start, numbers
            start += len(numbers)


def positives_elsewhere(texts_BC: NDArray[np.integer], positives: Ragged) -> NDArray[np.bool_]:
    """Return for each query which in-batch negatives are in fact positives of it, (B, N).

    Args:
        texts_BC: first rows (`first_rows`) of each query's passages, its positive first.
        positives: first rows of each query's positives, the one in the batch included.

    The query's positive at its own position is not marked; copies of it at other positions are.
    """
    queries, count = texts_BC.shape
    texts, column_of = np.unique(texts_BC, return_inverse=True)
    place = np.minimum(np.searchsorted(texts, positives.values), len(texts) - 1)
    in_batch = texts[place] == positives.values
    is_positive = np.zeros((queries, len(texts)), dtype=bool)
    is_positive[np.repeat(np.arange(queries), positives.lengths)[in_batch], place[in_batch]] = True
    mask = is_positive[:, column_of.ravel()]
    mask[np.arange(queries), np.arange(queries) * count] = False
    return mask


def told_apart(store: TokenStore, rows_BC: NDArray[np.integer], length: int) -> NDArray[np.bool_]:
    """Return for each list of passages whether at least two of them differ in their tokens, (B,)."""
    lengths = store.lengths(rows_BC.ravel(), length).reshape(rows_BC.shape)
    differ = np.ptp(lengths, axis=1) > 0
    for i in np.flatnonzero(~differ):
        ids = store.texts(rows_BC[i], length).ids.reshape(rows_BC.shape[1], -1)
        differ[i] = (ids != ids[0]).any()
    return differ
