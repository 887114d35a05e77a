"""Quantise term weights to impacts, the small integers of an inverted index, and write them as text for Anserini.

impact = weight x quantisation, rounded half to even; zeros are dropped. A term is written as its id in decimal digits:
a vocabulary's entries may contain white space, quotes or part of a character, which no analyzer would keep intact.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError

NO_TERMS = "none"  # the only term of a passage without impacts, so that it is indexed; no query has this term


def checked(vectors: SparseVectors, start: int, stop: int, path: Path) -> SparseVectors:
    """Return a range of rows after checking that their weights can be indexed; errors name `path`.

    Raises:
        InputError: a weight is negative or not finite.
    """
    part = vectors.rows(start, stop)
    weights, offsets = part.weights.values, part.weights.offsets
    wrong = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if len(wrong):
        row = start + int(np.searchsorted(offsets, wrong[0], side="right")) - 1
        raise InputError(
            f"{path}: row {row}: weight {weights[wrong[0]]} cannot be indexed, expected a finite, non-negative number;"
            " encode with a stage of the family lexicon whose training did not diverge"
        )
    return part


def quantise(vectors: SparseVectors, quantisation: int, start: int, stop: int, path: Path) -> SparseVectors:
    """Return a range of rows with their weights quantised to positive int32 impacts; errors name `path`.

    Raises:
        InputError: a weight is negative or not finite.
    """
    part = checked(vectors, start, stop, path)
    weights, offsets = part.weights.values, part.weights.offsets
    impacts = np.rint(weights * weights.dtype.type(quantisation)).astype(np.int32)
    positive = impacts > 0
    offsets = np.concatenate([[0], np.cumsum(positive)])[offsets]
    return SparseVectors(Ragged(part.terms.values[positive], offsets), Ragged(impacts[positive], offsets))


def json_vectors(impacts: SparseVectors) -> Iterator[str]:
    """Yield every row as a JSON object from term to impact."""
    pairs = zip(impacts.terms.values.tolist(), impacts.weights.values.tolist(), strict=True)
    texts = [f'"{term}":{impact}' for term, impact in pairs]
    offsets = impacts.terms.offsets.tolist()
    for low, high in pairwise(offsets):
        yield "{" + (",".join(texts[low:high]) or f'"{NO_TERMS}":1') + "}"


def repeated_terms(terms: NDArray[np.integer], impacts: NDArray[np.integer]) -> str:
    """Return a query with each term repeated as often as its impact, the only form of query weights in Anserini."""
    return "".join(f"{term} " * impact for term, impact in zip(terms.tolist(), impacts.tolist(), strict=True))
