"""Measure the sparsity of a lexicon stage's vectors: active terms per text, and the FLOPS to score a pair.

The FLOPS of a pair is the expected number of terms that a query and a passage share: the dot product of the terms'
frequencies of activation on the two sides. It is measured on the stored vectors, before an index rounds small weights
to zero.

Source: SPLADE (arXiv:2107.05720), section 4, after arXiv:2004.05665.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import read_arrow

BLOCK = 16_777_216  # terms counted at once


def activations(paths: Sequence[Path]) -> tuple[NDArray[np.int64], int]:
    """Return the number of texts in which each vocabulary term is active, and the number of texts."""
    counts, texts = np.zeros(0, dtype=np.int64), 0
    for path in paths:
        terms = read_arrow(path)[0].ragged("terms")
        texts += len(terms)
        for start in range(0, len(terms.values), BLOCK):
            total = np.bincount(terms.values[start : start + BLOCK], minlength=len(counts))
            total[: len(counts)] += counts
            counts = total
    return counts, texts


def sparsity(queries: Path, passages: Sequence[Path]) -> dict[str, float | None]:
    """Return the mean active terms of a query and of a passage, and the FLOPS of a pair; None without texts."""
    (of_queries, query_count), (of_passages, passage_count) = activations([queries]), activations(passages)
    if not query_count or not passage_count:
        return dict.fromkeys(("query_terms", "passage_terms", "flops"))
    shared = min(len(of_queries), len(of_passages))
    return {
        "query_terms": float(of_queries.sum() / query_count),
        "passage_terms": float(of_passages.sum() / passage_count),
        "flops": float(of_queries[:shared] / query_count @ (of_passages[:shared] / passage_count)),
    }
