"""Impacts: term weights as the small integers of an inverted index, and the texts in which Anserini reads them.

impact = weight x quantisation, rounded half to even; zeros are dropped. A term is written as its id in decimal digits:
the entries of a vocabulary may hold white space, quotes or part of a character, which no analyzer keeps apart.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError

NO_TERMS = "none"  # what a passage without impacts is indexed under, so that it counts; no query has this term


def checked(vectors: SparseVectors, start: int, stop: int, path: Path) -> SparseVectors:
    """Return a range of rows whose weights can be indexed; `path` is where the vectors came from.

    Raises:
        InputError: a weight is negative or not a finite number.
    """
    part = vectors.rows(start, stop)
    weights, offsets = part.weights.values, part.weights.offsets
    wrong = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if len(wrong):
        row = start + int(np.searchsorted(offsets, wrong[0], side="right")) - 1
        raise InputError(
            f"{path}: row {row}: weight {weights[wrong[0]]} cannot be indexed, expected a finite number that is not"
            " negative; encode with a stage of the family lexicon whose training did not diverge"
        )
    return part


def quantise(vectors: SparseVectors, quantisation: int, start: int, stop: int, path: Path) -> SparseVectors:
    """Return a range of rows with int32 impacts above zero for weights; `path` is where the vectors came from.

    Raises:
        InputError: a weight is negative or not a finite number.
    """
    part = checked(vectors, start, stop, path)
    weights, offsets = part.weights.values, part.weights.offsets
    impacts = np.rint(weights * weights.dtype.type(quantisation)).astype(np.int32)
    kept = impacts > 0
    offsets = np.concatenate([[0], np.cumsum(kept)])[offsets]
    return SparseVectors(Ragged(part.terms.values[kept], offsets), Ragged(impacts[kept], offsets))


def json_vectors(impacts: SparseVectors) -> Iterator[str]:
    """Yield every row as a JSON object from term to impact."""
    pairs = zip(impacts.terms.values.tolist(), impacts.weights.values.tolist(), strict=True)
    texts = [f'"{term}":{impact}' for term, impact in pairs]
    offsets = impacts.terms.offsets.tolist()
    for low, high in pairwise(offsets):
        yield "{" + (",".join(texts[low:high]) or f'"{NO_TERMS}":1') + "}"


def repeated_terms(terms: NDArray[np.integer], impacts: NDArray[np.integer]) -> str:
    """Return a query that holds each term as often as its impact says: the one form of weights that Anserini reads."""
    return "".join(f"{term} " * impact for term, impact in zip(terms.tolist(), impacts.tolist(), strict=True))
