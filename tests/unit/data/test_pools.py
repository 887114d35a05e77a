import sys

import numpy as np
import pytest
import tiny

from led_pipeline.data import pools
from led_pipeline.data.pools import LeftOut, build_pool, published, unjudged
from led_pipeline.data.tables import Ragged, Ranking, read_ranking, write_ranking, write_strings
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json


def ranking(*rows: tuple[int, list[int], list[float]]) -> Ranking:
    queries, passages, scores = zip(*rows, strict=True)
    return Ranking(
        np.array(queries, dtype=np.int32),
        Ragged.from_rows([np.array(p) for p in passages], np.int32),
        Ragged.from_rows([np.array(s) for s in scores], np.float32),
    )


def lists(pool) -> list[tuple[int, list[int], list[float]]]:
    return [(query, passages.tolist(), scores.tolist()) for query, passages, scores in pool]


RANKED = ranking(
    (0, [9, 3, 5, 7, 1], [5, 4, 3, 2, 1]),
    (2, [3, 9], [2, 1]),
    (5, [4, 2, 8], [3, 3, 1]),
)


@pytest.fixture
def dataset(tmp_path):
    """Write ten passages p0..p9, six queries q0..q5 and judgements; return the folder."""
    tiny.save_passages(tmp_path / "passages.parquet", 10)
    queries = {"id": [f"q{i}" for i in range(6)], "text": ["x"] * 6}
    write_strings(tmp_path / "queries.parquet", [queries], ["id", "text"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp3\t1\nq0\t0\tp9\t0\nq2\t0\tp3\t2\nq2\t0\tp9\t1\nq9\t0\tp1\t1\n")
    return tmp_path


def test_every_judged_passage_is_left_out_and_the_order_stays():
    assert unjudged(np.array([9, 3, 5, 7, 1]), {3, 7, 8}, 10).tolist() == [0, 2, 4]


def test_the_depth_counts_what_is_left():
    assert unjudged(np.array([9, 3, 5, 7, 1]), {9, 5}, 2).tolist() == [1, 3]


def test_without_judgements_every_passage_stays():
    assert unjudged(np.array([4, 2]), (), 5).tolist() == [0, 1]


def test_a_depth_below_1_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        unjudged(np.array([1]), (), 0)


def test_a_pool_holds_the_best_unjudged_passages_with_their_scores(tmp_path):
    build_pool(RANKED, LeftOut({0: {3, 9}, 2: {3, 9}}), 2, tmp_path / "pool.parquet")
    assert lists(read_ranking(tmp_path / "pool.parquet")) == [(0, [5, 7], [3.0, 2.0]), (5, [4, 2], [3.0, 3.0])]


def test_the_manifest_counts_queries_that_came_up_short(tmp_path):
    build_pool(RANKED, LeftOut({2: {3}}), 3, tmp_path / "pool.parquet")
    manifest = {"depth": 3, "queries": 3, "queries_with_fewer": 1, "passages": 7, "copies_of_positives": 0}
    assert read_json(tmp_path / "pool.json") == manifest


def test_a_pool_may_be_empty(tmp_path):
    build_pool(ranking((1, [4], [1.0])), LeftOut({1: {4}}), 3, tmp_path / "pool.parquet")
    assert lists(read_ranking(tmp_path / "pool.parquet")) == []
    assert read_json(tmp_path / "pool.json")["passages"] == 0


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_published_negatives_come_in_row_order_with_falling_scores(dataset, monkeypatch, at_once):
    monkeypatch.setattr(pools, "LOOKED_UP", at_once)
    (dataset / "negatives.tsv").write_text("q4\tp7,p2\nunknown\tp1\nq1\tp3,p3,p0\n")
    queries, passages = dataset / "queries.parquet", dataset / "passages.parquet"
    rankings = lists(published(dataset / "negatives.tsv", queries, passages, dataset))
    assert rankings == [(1, [3, 0], [0.0, -1.0]), (4, [7, 2], [0.0, -1.0])]


def test_error_names_a_published_passage_outside_the_collection(dataset):
    (dataset / "negatives.tsv").write_text("q1\tp1,p2\nq4\tp7,p10\nq5\tp1\n")
    queries, passages = dataset / "queries.parquet", dataset / "passages.parquet"
    with pytest.raises(InputError, match=r"negatives\.tsv: passage 'p10' of query 'q4' is not in"):
        list(published(dataset / "negatives.tsv", queries, passages, dataset))


def run(folder, monkeypatch, kind: str, *arguments: str) -> list[tuple[int, list[int], list[float]]]:
    common = ["--queries", "queries.parquet", "--passages", "passages.parquet", "--qrels", "train.qrels"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["pools", kind, *arguments, *common, "--out", "pool.parquet"])
    pools.main()
    return lists(read_ranking(folder / "pool.parquet"))


def test_the_judged_passages_make_a_pool_with_their_grades_best_first(dataset, monkeypatch):
    pool = run(dataset, monkeypatch, "judged", "--depth", "5")
    assert pool == [(0, [3, 9], [1.0, 0.0]), (2, [3, 9], [2.0, 1.0])]
    assert run(dataset, monkeypatch, "judged", "--depth", "1") == [(0, [3], [1.0]), (2, [3], [2.0])]


@pytest.mark.parametrize("kind", ["ranking", "published"])
def test_the_command_makes_the_same_pool_of_a_ranking_and_of_published_lists(dataset, monkeypatch, kind):
    write_ranking(dataset / "ranking.parquet", RANKED)
    (dataset / "negatives.tsv").write_text("q0\tp9,p3,p5,p7,p1\nq2\tp3,p9\nq5\tp4,p2,p8\n")
    source = {"ranking": ["--ranking", "ranking.parquet"], "published": ["--negatives", "negatives.tsv"]}[kind]
    pool = run(dataset, monkeypatch, kind, *source, "--depth", "2")
    assert [(query, passages) for query, passages, _ in pool] == [(0, [5, 7]), (5, [4, 2])]


@pytest.mark.parametrize("kind", ["ranking", "published"])
def test_copies_of_a_positive_are_left_out_of_the_pool_and_counted(dataset, monkeypatch, kind):
    """Query q0 judges p3 relevant and p9 not, q2 both; p5 and p1 copy p3, p7 copies p9, and p2 copies p4."""
    texts = ["a", "x y", "c", "x  y", "c", "x y", "d", "z", "e", "z"]
    tiny.save_passages(dataset / "passages.parquet", 10, texts)
    write_ranking(dataset / "ranking.parquet", ranking(*((query, [9, 3, 5, 7, 1, 0], range(6)) for query in (0, 2, 5))))
    (dataset / "negatives.tsv").write_text("".join(f"q{i}\tp9,p3,p5,p7,p1,p0\n" for i in (0, 2, 5)))
    source = {"ranking": ["--ranking", "ranking.parquet"], "published": ["--negatives", "negatives.tsv"]}[kind]
    pool = run(dataset, monkeypatch, kind, *source, "--depth", "9")
    assert [(query, passages) for query, passages, _ in pool] == [
        (0, [7, 0]),  # what copies a passage of grade 0 is a negative
        (2, [0]),
        (5, [9, 3, 5, 7, 1, 0]),
    ]
    assert read_json(dataset / "pool.json")["copies_of_positives"] == 2 + 3
