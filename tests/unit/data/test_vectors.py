"""Stored vectors: dot products of pairs equal those of the dense matrices."""

import numpy as np
import pytest
from random_vectors import dense, random_sparse

from led_pipeline.data import vectors
from led_pipeline.data.vectors import pair_products


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
def test_sparse_pairs_score_as_their_dense_dot_products(monkeypatch, order):
    monkeypatch.setattr(vectors, "QUERY_BLOCK", 3)
    monkeypatch.setattr(vectors, "PAIR_BLOCK", 11)
    rng = np.random.default_rng(3)
    queries, passages = random_sparse(rng, 20), random_sparse(rng, 60)
    query_rows, passage_rows = rng.integers(0, 20, 300), rng.integers(0, 60, 300)
    if order == "grouped":
        query_rows.sort()
    scores = pair_products(queries, passages, query_rows, passage_rows)
    assert scores.dtype == np.float32
    expected = (dense(queries) @ dense(passages).T)[query_rows, passage_rows]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_dense_pairs_score_as_their_pair_products(monkeypatch):
    monkeypatch.setattr(vectors, "DENSE_BLOCK", 7)
    rng = np.random.default_rng(4)
    queries, passages = (rng.standard_normal((n, 16)).astype(np.float16) for n in (5, 30))
    query_rows, passage_rows = rng.integers(0, 5, 100), rng.integers(0, 30, 100)
    scores = pair_products(queries, passages, query_rows, passage_rows)
    expected = (queries.astype(np.float64) @ passages.astype(np.float64).T)[query_rows, passage_rows]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)
