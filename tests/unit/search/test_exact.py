"""Exact search and the scores of a trainset's pairs, against numpy and by hand."""

import sys

import numpy as np
import pytest
from random_vectors import dense, random_sparse

from led_pipeline.data.examples import Trainset
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import write_arrow
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.search import exact
from led_pipeline.search.exact import exact_sparse, pair_scores


def save(path, vectors: SparseVectors) -> None:
    write_arrow(path, {"terms": vectors.terms, "weights": vectors.weights})


def test_exact_search_equals_sorting_all_scores_with_ties_by_row(monkeypatch):
    monkeypatch.setattr(exact, "PASSAGE_BLOCK", 37)
    monkeypatch.setattr(exact, "QUERY_BLOCK", 4)
    rng = np.random.default_rng(2)
    queries, passages = random_sparse(rng, 15, whole=True), random_sparse(rng, 200, whole=True)
    scores = dense(queries) @ dense(passages).T
    ranking = exact_sparse(queries, passages, 20)
    assert ranking.queries.tolist() == list(range(15))
    for query, rows, values in ranking:
        order = [row for row in np.argsort(-scores[query], kind="stable") if scores[query, row] > 0][:20]
        assert rows.tolist() == order
        assert values.tolist() == scores[query, order].tolist()


def test_a_query_without_terms_has_no_hits_and_depth_may_exceed_the_collection():
    queries = SparseVectors(Ragged.from_rows([np.array([]), np.array([3])], np.uint16),
                            Ragged.from_rows([np.array([]), np.array([2.0])], np.float32))  # fmt: skip
    passages = SparseVectors(Ragged.from_rows([np.array([3]), np.array([4])], np.uint16),
                             Ragged.from_rows([np.array([0.5]), np.array([9.0])], np.float32))  # fmt: skip
    assert [(p.tolist(), s.tolist()) for _, p, s in exact_sparse(queries, passages, 100)] == [([], []), ([0], [1.0])]


def test_large_impacts_rank_by_exact_sums():
    """float16 cannot represent 2,049, nor a sum of float32 products 16,777,217."""
    impacts = [[2_048, 1], [2_049, 1], [4_096, 4_097]]
    rows = Ragged.from_rows([np.array([0, 1])] * 3, np.uint16), Ragged.from_rows(impacts, np.uint16)
    query = Ragged.from_rows([np.array([0, 1])], np.uint16), Ragged.from_rows([[1, 1]], np.uint16)
    ((_, passages, scores),) = exact_sparse(SparseVectors(*query), SparseVectors(*rows), 3)
    assert (passages.tolist(), scores.tolist()) == ([2, 1, 0], [8_193.0, 2_050.0, 2_049.0])
    query = Ragged.from_rows([np.array([0, 1])], np.uint16), Ragged.from_rows([[4_096, 1]], np.uint16)
    products = SparseVectors(*query).matrix(2) @ SparseVectors(*rows).matrix(2).T
    assert int(products.toarray()[0, 2]) == 16_781_313


def trainset(path) -> tuple[np.ndarray, np.ndarray]:
    """Write a trainset of five rows; return the query row and the passage row of each pair."""
    queries = np.array([2, 0, 2, 1, 0], dtype=np.int32)
    passages = [[5, 0], [9, 9, 1], [3], [8, 2, 7, 4], [6, 5]]
    rows = [np.array(row) for row in passages]
    Trainset(queries, Ragged.from_rows(rows, np.int32), examples=5).write(path)
    return np.repeat(queries, [len(row) for row in rows]), np.concatenate(rows)


@pytest.mark.parametrize("kind", ["npy", "arrow"])
def test_the_shards_of_pair_scores_join_to_the_scores_of_all_pairs(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(5)
    query_rows, passage_rows = trainset(tmp_path / "trainset.arrow")
    if kind == "npy":
        queries, passages = rng.standard_normal((3, 8)), rng.standard_normal((10, 8))
        expected = queries @ passages.T
        np.save(tmp_path / "q.npy", queries.astype(np.float32))
        for name, part in (("a", passages[:4]), ("b", passages[4:])):
            np.save(tmp_path / f"{name}.npy", part.astype(np.float32))
    else:
        queries, passages = random_sparse(rng, 3), random_sparse(rng, 10)
        expected = dense(queries) @ dense(passages).T
        save(tmp_path / "q.arrow", queries)
        save(tmp_path / "a.arrow", passages.rows(0, 4))
        save(tmp_path / "b.arrow", passages.rows(4, 10))
    parts = []
    for shard in range(3):
        out = tmp_path / "scores.npy"
        command = ["pair-scores", "--pairs", tmp_path / "trainset.arrow", "--query-vectors", tmp_path / f"q.{kind}"]
        command += ["--passage-vectors", tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"]
        command += ["--shard", shard, "--shards", 3, "--out", out]
        monkeypatch.setattr(sys, "argv", ["exact", *map(str, command)])
        exact.main()
        parts.append(np.load(out))
    assert [len(part) for part in parts] == [2, 4, 6]
    assert parts[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), expected[query_rows, passage_rows], rtol=1e-5, atol=1e-6)


def test_a_passage_without_a_vector_is_an_error(tmp_path):
    trainset(tmp_path / "trainset.arrow")
    np.save(tmp_path / "q.npy", np.ones((3, 2), np.float32))
    np.save(tmp_path / "p.npy", np.ones((9, 2), np.float32))
    with pytest.raises(InputError, match="names passage row 9"):
        pair_scores(
            tmp_path / "trainset.arrow", tmp_path / "q.npy", [tmp_path / "p.npy"], 0, 1, tmp_path / "scores.npy"
        )
    assert not (tmp_path / "scores.npy").exists()


def test_sparse_and_dense_vectors_do_not_mix(tmp_path):
    trainset(tmp_path / "trainset.arrow")
    np.save(tmp_path / "q.npy", np.ones((3, 2), np.float32))
    save(tmp_path / "p.arrow", random_sparse(np.random.default_rng(6), 10))
    with pytest.raises(InputError, match=r"p\.arrow: dense .* and sparse .* cannot be multiplied"):
        pair_scores(tmp_path / "trainset.arrow", tmp_path / "q.npy", [tmp_path / "p.arrow"], 0, 1, tmp_path / "s.npy")
