"""Dense search with FAISS against sorting all scores; `test_torch_engine` has the search on GPUs."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from led_pipeline.data.tables import read_ranking
from led_pipeline.files.errors import InputError
from led_pipeline.search import dense_files, faiss_index
from led_pipeline.search.faiss_index import block_keys, search
from led_pipeline.search.top_k import pack


def save(folder, name: str, vectors: np.ndarray, dtype=np.float16):
    path = folder / f"{name}.npy"
    np.save(path, vectors.astype(dtype))
    return path


def save_shards(folder, vectors: np.ndarray, *cuts: int):
    bounds = [0, *cuts, len(vectors)]
    return [save(folder, f"p{len(cuts)}.{i}", vectors[a:b]) for i, (a, b) in enumerate(pairwise(bounds))]


def brute_force(queries: np.ndarray, passages: np.ndarray, hits: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.astype(np.float64) @ passages.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :hits]
    return order, np.take_along_axis(scores, order, axis=1)


def assert_ranking(ranking, rows: np.ndarray, scores: np.ndarray) -> None:
    assert ranking.queries.tolist() == list(range(len(rows)))
    for query, passages, values in ranking:
        assert passages.tolist() == rows[query].tolist()
        np.testing.assert_allclose(values, scores[query], rtol=1e-5, atol=1e-5)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(faiss_index, "CPU_BLOCK", 64)
    monkeypatch.setattr(faiss_index, "TILE", 8)


def test_search_equals_sorting_all_scores(tmp_path, small_blocks, monkeypatch):
    rng = np.random.default_rng(1)
    queries, passages = (rng.standard_normal((n, 24)).astype(np.float16) for n in (30, 300))
    out = tmp_path / "ranking.parquet"
    command = [
        "--passage-vectors",
        *save_shards(tmp_path, passages, 100),
        "--query-vectors",
        save(tmp_path, "q", queries),
    ]
    monkeypatch.setattr(sys, "argv", ["faiss_index", *map(str, [*command, "--hits", 20, "--threads", 1, "--out", out])])
    faiss_index.main()
    assert_ranking(read_ranking(out), *brute_force(queries, passages, 20))


def test_ties_go_to_the_lower_row_even_at_the_cut_off(tmp_path, small_blocks):
    rng = np.random.default_rng(2)
    queries, passages = rng.integers(0, 2, (30, 4)), rng.integers(0, 2, (500, 4))  # five different scores at most
    rows, scores = brute_force(queries, passages, 9)
    ranking = search(save_shards(tmp_path, passages, 7, 200), save(tmp_path, "q", queries), 9, 1)
    assert_ranking(ranking, rows, scores)


@pytest.mark.parametrize("cuts", [(), (1, 64, 64, 130), (128,), (10, 20, 30, 40)])
def test_blocks_are_cut_at_the_same_rows_wherever_the_shards_end(cuts):
    vectors = np.arange(400, dtype=np.float32).reshape(200, 2)
    shards = [vectors[a:b] for a, b in pairwise([0, *cuts, 200])]
    blocks = list(dense_files.blocks([None] * len(shards), shards, 64, np.float32))
    assert [len(block) for block in blocks] == [64, 64, 64, 8]
    np.testing.assert_array_equal(np.concatenate(blocks), vectors)


def test_the_number_of_shards_changes_no_bit(tmp_path, small_blocks):
    rng = np.random.default_rng(3)
    queries, passages = (rng.standard_normal((n, 24)).astype(np.float16) for n in (20, 200))
    path = save(tmp_path, "q", queries)
    one = search(save_shards(tmp_path, passages), path, 15, 1)
    many = search(save_shards(tmp_path, passages, 1, 50, 50, 130), path, 15, 1)  # one shard is empty
    np.testing.assert_array_equal(many.passages.values, one.passages.values)
    np.testing.assert_array_equal(many.scores.values, one.scores.values)


@pytest.mark.parametrize("shards", [2, 3, 30])  # of 20 queries: some are empty
def test_shards_of_the_queries_are_parts_of_the_same_ranking(tmp_path, small_blocks, shards):
    rng = np.random.default_rng(6)
    queries, passages = (rng.standard_normal((n, 24)).astype(np.float16) for n in (20, 200))
    files, path = save_shards(tmp_path, passages, 50), save(tmp_path, "q", queries)
    parts = [search(files, path, 15, 1, shard, shards) for shard in range(shards)]
    assert [query for part in parts for query in part.queries] == list(range(20))
    rows, scores = brute_force(queries, passages, 15)
    rankings = [(rows.tolist(), scores) for part in parts for _, rows, scores in part]
    for query, (passage_rows, values) in enumerate(rankings):
        assert passage_rows == rows[query].tolist()
        np.testing.assert_allclose(values, scores[query], rtol=1e-5, atol=1e-5)


def test_hits_beyond_the_collection_rank_all_of_it(tmp_path):
    rng = np.random.default_rng(4)
    queries, passages = rng.standard_normal((3, 8)), rng.standard_normal((5, 8))
    ranking = search([save(tmp_path, "p", passages, np.float32)], save(tmp_path, "q", queries, np.float32), 1_000, 1)
    assert_ranking(ranking, *brute_force(queries, passages, 5))


def test_a_tie_longer_than_the_requested_hits_is_followed_to_its_end(monkeypatch):
    monkeypatch.setattr(faiss_index, "TIE_HITS", 40)
    requests = []

    def last_rows_first(queries, block, hits):
        requests.append((len(queries), hits))
        scores = queries @ block.T
        order = np.lexsort((-np.arange(len(block))[None].repeat(len(queries), 0), -scores), axis=1)[:, :hits]
        return np.take_along_axis(scores, order, axis=1).astype(np.float32), order

    block = np.array([[2.0, 5.0]] + [[1.0, i] for i in range(40)])
    keys = block_keys(last_rows_first, np.array([[1.0, 0.0], [1.0, 1.0], [3.0, 0.0]]), block, 100, 3)
    expected = [([2, 1, 1], [100, 101, 102]), ([40, 39, 38], [140, 139, 138]), ([6, 3, 3], [100, 101, 102])]
    for got, (scores, rows) in zip(keys, expected, strict=True):
        assert sorted(got.tolist()) == pack(np.float32(scores), np.array(rows)).tolist()
    assert requests[0] == (3, 4)
    assert requests[-2:] == [(1, 41), (1, 41)]  # the two tied queries, one at a time


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_error_gives_shard_and_row_of_a_value_that_is_not_finite(tmp_path, small_blocks, value):
    passages = np.ones((200, 4))
    passages[150, 2] = value
    shards = save_shards(tmp_path, passages, 30)
    with pytest.raises(InputError, match=rf"{shards[1].name}: row 120: "):
        search(shards, save(tmp_path, "q", np.ones((2, 4))), 5, 1)
    with pytest.raises(InputError, match=r"p\d\.1\.npy: row 120: "):
        search([save(tmp_path, "p", np.ones((3, 4)))], shards[1], 5, 1)


def test_vectors_of_different_dimensions_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"p\.npy: its vectors have 3 dimensions, those of .*q\.npy 4"):
        search([save(tmp_path, "p", np.ones((5, 3)))], save(tmp_path, "q", np.ones((2, 4))), 5, 1)
