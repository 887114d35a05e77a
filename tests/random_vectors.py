"""Random sparse vectors, and the same as a dense matrix."""

import numpy as np

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.vectors import SparseVectors

VOCABULARY = 50


def random_sparse(rng: np.random.Generator, rows: int, whole: bool = False) -> SparseVectors:
    """Return random vectors, some of them empty; whole weights produce ties."""
    terms = [np.sort(rng.choice(VOCABULARY, rng.integers(0, 12), replace=False)) for _ in range(rows)]
    draw = (lambda n: rng.integers(1, 4, n)) if whole else rng.random
    return SparseVectors(
        Ragged.from_rows(terms, np.uint16), Ragged.from_rows([draw(len(row)) for row in terms], np.float32)
    )


def dense(vectors: SparseVectors) -> np.ndarray:
    matrix = np.zeros((len(vectors), VOCABULARY))
    for row in range(len(vectors)):
        matrix[row, vectors.terms[row]] = vectors.weights[row]
    return matrix
