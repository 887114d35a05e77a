"""Exact lexicon search with torch gives the rankings of the loops on the processor, and of all products."""

import numpy as np
import pytest
import torch
from random_vectors import random_sparse
from test_exact_lexicon import as_lists, postings_of, sparse, topical, whole

from led_pipeline.search import exact_lexicon, torch_lexicon
from led_pipeline.search.exact import exact_sparse

CPU = torch.device("cpu")


@pytest.mark.parametrize("k", [1, 10, 100, 5_000])
@pytest.mark.parametrize("devices", [1, 3])
def test_passages_scores_and_ties_are_those_of_all_products(tmp_path, k, devices):
    rng = np.random.default_rng(k)
    queries, passages = topical(rng, 80, 25), topical(rng, 3_000, 60)
    expected = as_lists(exact_sparse(queries, passages, k))
    for block_rows, group_rows, tile in ((64, 200, 7), (500, 1_000, 80), (3_000, 1, 1)):
        postings = postings_of(tmp_path / "p", passages, block_rows=block_rows)
        hits = torch_lexicon.search([CPU] * devices, postings, whole(queries), k, group_rows, tile)
        assert as_lists(hits) == expected


def test_queries_without_hits_and_terms_that_no_passage_has(tmp_path):
    passages = sparse([{1: 2.0}, {}, {3: 1.0, 1: 2.0}])
    queries = sparse([{1: 3.0}, {}, {9: 1.0}, {60_000: 2.0, 3: 5.0}])
    hits = as_lists(torch_lexicon.search([CPU], postings_of(tmp_path / "p", passages), whole(queries), 2))
    assert hits == [([0, 2], [6, 6]), ([], []), ([], []), ([2], [5])]


@pytest.mark.parametrize("largest", [255, 256, 2_049, 40_000])
def test_large_impacts_and_scores_are_exact(tmp_path, largest):
    """40,000 x 40,000 is beyond the integers of float32, and needs several postings of a passage."""
    rng = np.random.default_rng(largest)
    passages = sparse([{int(t): float(rng.integers(1, largest + 1)) for t in rng.choice(50, 12)} for _ in range(300)])
    queries = sparse(
        [{int(t): float(rng.integers(1, largest // 12 + 2)) for t in rng.choice(50, 6)} for _ in range(20)]
    )
    postings = postings_of(tmp_path / "p", passages, block_rows=100)
    expected = as_lists(exact_lexicon.search(postings, whole(queries), 50))
    assert as_lists(torch_lexicon.search([CPU], postings, whole(queries), 50, 100, 8)) == expected


def test_the_type_of_the_products_is_one_in_which_they_are_exact():
    gpu = torch.device("cuda")
    assert torch_lexicon.exact_type(2_048, 2**24 - 1, gpu) == torch.float16
    assert torch_lexicon.exact_type(2_049, 2**24 - 1, gpu) == torch.float32
    assert torch_lexicon.exact_type(10, 2**24, gpu) == torch_lexicon.exact_type(10, 2**24, CPU) == torch.float64
    assert torch_lexicon.exact_type(10, 100, CPU) == torch.float32
    assert torch.tensor([2_048, 2_049], dtype=torch.float16).tolist() == [2_048, 2_048]


def test_queries_with_the_same_rare_term_share_a_tile(tmp_path):
    rng = np.random.default_rng(3)
    postings = postings_of(tmp_path / "p", random_sparse(rng, 400, whole=True))
    queries = sparse([{i % 4: 1.0} for i in range(40)])
    of_four = list(torch_lexicon.tiles(postings, whole(queries), 10, CPU))
    assert [tile.width for tile in of_four] == [1] * 4
    assert sorted(n for tile in of_four for n in tile.queries.tolist()) == list(range(40))
