"""Sparsity of a lexicon stage's vectors: how many terms texts have, and what one pair of them costs to score.

The FLOPS of a pair is the expected number of terms that a query and a passage share, which is the dot product of how
often each term is active on either side. Counted on the stored vectors, before an index rounds small weights to zero.

Source: SPLADE (arXiv:2107.05720), section 4, after arXiv:2004.05665.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import read_arrow

BLOCK = 16_777_216  # terms counted at once


def activations(paths: Sequence[Path]) -> tuple[NDArray[np.int64], int]:
    """Return in how many texts each term of the vocabulary is active, and the number of texts, block by block."""
    counts, texts = np.zeros(0, dtype=np.int64), 0
    for path in paths:
        terms = read_arrow(path)[0]["terms"]
        texts += len(terms)
        for start in range(0, len(terms.values), BLOCK):
            found = np.bincount(terms.values[start : start + BLOCK], minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
    return counts, texts


def sparsity(queries: Path, passages: Sequence[Path]) -> dict[str, float | None]:
    """Return the mean active terms of queries and passages and the expected FLOPS of a pair; None without texts."""
    (of_queries, query_count), (of_passages, passage_count) = activations([queries]), activations(passages)
    if not query_count or not passage_count:
        return dict.fromkeys(("query_terms", "passage_terms", "flops"))
    shared = min(len(of_queries), len(of_passages))
    return {
        "query_terms": float(of_queries.sum() / query_count),
        "passage_terms": float(of_passages.sum() / passage_count),
        "flops": float(of_queries[:shared] / query_count @ (of_passages[:shared] / passage_count)),
    }
