"""Largest scores: how high the scores of a query can be in a posting file, and whether they fit into 32 bits."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.search.posting_file import Postings

HIGHEST_SCORE = 2**31 - 1  # sums are 32-bit integers


def largest_scores(postings: Postings, queries: SparseVectors) -> NDArray[np.float64]:
    """Return a bound of the scores of each query: the sum of its impacts times the largest ones in the collection."""
    in_file = queries.terms.values < len(postings.terms)
    largest = postings.terms[np.where(in_file, queries.terms.values, 0), 1] if len(postings.terms) else 0
    products = np.where(in_file, largest, 0) * queries.weights.values.astype(np.float64)
    return np.diff(np.concatenate([[0.0], np.cumsum(products)])[queries.terms.offsets])


def check_scores(postings: Postings, queries: SparseVectors, path: Path, first: int = 0) -> None:
    """Check that no sum leaves 32 bits; `first` is the row of the first query, for the message.

    Raises:
        InputError: one might.
    """
    bounds = largest_scores(postings, queries)
    if len(bounds) and bounds.max() > HIGHEST_SCORE:
        raise InputError(
            f"{path}: row {first + int(bounds.argmax())}: its scores can reach {bounds.max():.3g}, and search.lexicon:"
            f" exact adds up at most {HIGHEST_SCORE:,}; lower the stage's quantisation ({postings.quantisation})"
        )
