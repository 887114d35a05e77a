"""Same text: which passages of a collection say the same, and which negatives of a batch are positives by that.

Two passages have the same text where titles and texts are equal after every run of white space is made one blank and
the ends are cut. What differs in case, accents or punctuation differs, also where a tokenizer does not see it.
`passages.parquet` holds a number per passage for it (`contents`), so that no text is read or held for a comparison.

# B = queries of a batch, C = passages of one query (positive first), N = B x C passages of the batch
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from led_pipeline.data.tables import CONTENT, Ragged
from led_pipeline.data.tokens import TokenStore


def contents(titles: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Return a number of 64 bits per passage, equal where title and text are, the same on every machine.

    Of 8.8 million different passages two share a number by chance once in 500,000 collections.
    """
    joined = (
        "\n".join((" ".join(title.split()), " ".join(text.split()))) for title, text in zip(titles, texts, strict=True)
    )
    return [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) for text in joined]


def with_contents(passages: dict[str, list[str]]) -> dict[str, list]:
    """Add the column of `contents` to columns with title and text."""
    return passages | {CONTENT: contents(passages["title"], passages["text"])}


def first_rows(passages: Path) -> NDArray[np.int32]:
    """Return for every row of passages.parquet the first row that has its text: its own, unless it is a copy.

    Memory: 90 bytes a passage while the numbers are sorted, 4 afterwards.
    """
    numbers = pq.read_table(passages, columns=[CONTENT])[CONTENT].to_numpy()
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int32)


def positives_elsewhere(texts_BC: NDArray[np.integer], positives: Ragged) -> NDArray[np.bool_]:
    """Return which passages of a batch are a positive of each query though they count as its negatives, (B, N).

    Args:
        texts_BC: first rows (`first_rows`) of each query's passages, its positive first.
        positives: first rows of each query's positives, the one in the batch included.

    The query's own positive, in its own place, is none of them; a copy of it elsewhere is.
    """
    queries, count = texts_BC.shape
    known, column_of = np.unique(texts_BC, return_inverse=True)
    place = np.minimum(np.searchsorted(known, positives.values), len(known) - 1)
    there = known[place] == positives.values
    of_query = np.zeros((queries, len(known)), dtype=bool)
    of_query[np.repeat(np.arange(queries), positives.lengths)[there], place[there]] = True
    found = of_query[:, column_of.ravel()]
    found[np.arange(queries), np.arange(queries) * count] = False
    return found


def told_apart(store: TokenStore, rows_BC: NDArray[np.integer], length: int) -> NDArray[np.bool_]:
    """Return for each list of passages whether a model reads at least two of them differently, (B,)."""
    lengths = store.lengths(rows_BC.ravel(), length).reshape(rows_BC.shape)
    differ = np.ptp(lengths, axis=1) > 0
    for i in np.flatnonzero(~differ):
        ids = store.texts(rows_BC[i], length).ids.reshape(rows_BC.shape[1], -1)
        differ[i] = (ids != ids[0]).any()
    return differ
