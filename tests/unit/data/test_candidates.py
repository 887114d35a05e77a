import json
import sys
from collections import Counter

import numpy as np
import pytest
import tiny

from led_pipeline.data import candidates as module
from led_pipeline.data import scores, trainset
from led_pipeline.data.candidates import Candidates, selected
from led_pipeline.data.tables import Ragged, Ranking, read_arrow, write_ranking, write_strings
from led_pipeline.data.trainset import draw_trainset, window
from led_pipeline.recipe.step_settings import TrainsetSettings
from led_pipeline.recipe.values import NegativeSource

SETTINGS = {"negatives_per_query": 3, "batch_size": 4, "epochs": 4, "seed": 7}


def write_pool(path, lists: dict[int, list[tuple[int, float]]]):
    rows = [[passage for passage, _ in pairs] for pairs in lists.values()]
    scores = [[score for _, score in pairs] for pairs in lists.values()]
    ragged = (
        Ragged.from_rows(list(map(np.array, rows)), np.int32),
        Ragged.from_rows(list(map(np.array, scores)), np.float32),
    )
    write_ranking(path, Ranking(np.array(list(lists), dtype=np.int32), *ragged))
    return path


@pytest.fixture
def pool(tmp_path):
    """Write three queries' lists, 40 passages each at most, scores falling from 10 in halves."""
    lists = {q: [(100 * q + i, 10 - i / 2) for i in range(n)] for q, n in ((0, 40), (2, 3), (5, 12))}
    return write_pool(tmp_path / "a.parquet", lists), lists


def candidates(pool, depth=100, seed=1, **keys) -> dict[int, list[int]]:
    rows = Candidates([pool], depth, selections=[NegativeSource(system="bm25", **keys)], seed=seed).read(0, 6)
    return {q: rows[q].tolist() for q in range(6) if len(rows[q])}


def by_hand(lists, depth=100, **keys) -> dict[int, list[int]]:
    """The rules of a selection, written as a loop."""
    selection = NegativeSource(system="bm25", **keys).model_dump()
    selected = {}
    for query, pairs in lists.items():
        rest = pairs[:depth]
        if selection["min_score"] is not None:
            rest = [pair for pair in rest if pair[1] >= selection["min_score"]]
        if selection["max_score"] is not None:
            rest = [pair for pair in rest if pair[1] < selection["max_score"]]
        rest = rest[selection["skip"] :]
        rest = rest[: selection["first"]] if selection["first"] else rest
        rest = rest[-selection["last"] :] if selection["last"] else rest
        if rest:
            selected[query] = [passage for passage, _ in rest]
    return selected


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"min_score": 8.5},
        {"max_score": 9.0},
        {"min_score": 5.0, "max_score": 9.5, "skip": 2, "first": 3},
        {"skip": 3},
        {"skip": 30, "last": 4},
        {"first": 5},
        {"last": 5},
        {"depth": 10, "last": 2},
        {"min_score": 11.0},
    ],
)
def test_a_selection_takes_what_its_rules_say(pool, keys):
    path, lists = pool
    assert candidates(path, **keys) == by_hand(lists, **keys)


def test_a_random_selection_depends_on_the_seed_and_not_on_what_is_read_with_it(pool):
    path, lists = pool
    rows = candidates(path, random=6, skip=2)
    assert [len(rows) for rows in rows.values()] == [6, 1, 6]
    allowed = by_hand(lists, skip=2)
    assert all(set(rows) < set(allowed[q]) and rows == sorted(rows) for q, rows in rows.items() if q != 2)
    assert rows == candidates(path, random=6, skip=2) != candidates(path, random=6, skip=2, seed=2)
    alone = Candidates([path], 100, selections=[NegativeSource(system="bm25", random=6, skip=2)], seed=1).read(5, 6)
    assert alone[0].tolist() == rows[5]


def test_a_random_selection_takes_every_passage_equally_often():
    query_of, values = np.zeros(10, dtype=np.int32), np.arange(10, dtype=np.int32)
    counts = Counter()
    for seed in range(3_000):
        counts.update(selected(query_of, values, -values, NegativeSource(system="bm25", random=3), seed).tolist())
    assert all(abs(counts[i] - 900) < 5 * (3_000 * 0.3 * 0.7) ** 0.5 for i in range(10))


def test_one_pool_may_come_twice_with_other_selections(pool):
    path, _ = pool
    selections = [NegativeSource(system="bm25", first=2), NegativeSource(system="bm25", last=1), None]
    rows = Candidates([path] * 3, 5, selections=selections).read(0, 1)
    assert rows[0].tolist() == [0, 1, 4, 0, 1, 2, 3, 4]


# --- windows


def test_a_window_moves_through_one_order_and_wraps():
    drawn = [window(10, 4, epoch, seed=3, query=8).tolist() for epoch in range(5)]
    order = np.random.default_rng([3, 8]).permutation(10).tolist()
    assert drawn == [order[0:4], order[4:8], order[8:] + order[:2], order[2:6], order[6:]]
    assert Counter(position for part in drawn for position in part) == dict.fromkeys(range(10), 2), (
        "five windows of four go round twice"
    )
    assert window(10, 4, 0, seed=3, query=9).tolist() != drawn[0]


def test_a_window_wraps_around_few_candidates():
    first, second = (window(3, 4, epoch, seed=3, query=8).tolist() for epoch in (0, 1))
    assert set(first) == {0, 1, 2} and first[3] == first[0] and second[0] == first[1]


def test_a_trainset_of_windows_uses_every_candidate_before_any_again(tmp_path, pool):
    path, lists = pool
    pairs = np.array([(0, 900), (5, 905)], dtype=np.int32)
    draw_trainset(
        pairs, Candidates([path], 12), TrainsetSettings(**SETTINGS | {"sampling": "window"}), tmp_path / "t.arrow"
    )
    columns, _ = read_arrow(tmp_path / "t.arrow")
    for query in (0, 5):
        rows = np.flatnonzero(columns["query"] == query)
        used = [p for row in rows for p in columns["passages"][row][1:].tolist()]
        assert sorted(used) == [passage for passage, _ in lists[query][:12]], "four epochs of three out of twelve"


# --- positives


def test_one_random_positive_of_each_query_is_taken_in_every_epoch(tmp_path, pool):
    pairs = np.array([(0, 900), (0, 901), (0, 902), (2, 903), (4, 904), (5, 905)], dtype=np.int32)
    settings = TrainsetSettings(**SETTINGS | {"positives_per_epoch": "one", "epochs": 30})
    draw_trainset(pairs, Candidates([pool[0]], 100), settings, tmp_path / "t.arrow")
    columns, metadata = read_arrow(tmp_path / "t.arrow")
    assert metadata == {"examples": "3"} and len(columns["query"]) == 90, "query 4 has no negatives"
    for epoch in range(30):
        assert sorted(columns["query"][columns["epoch"] == epoch].tolist()) == [0, 2, 5]
    positives = Counter((q, int(p[0])) for q, p in zip(columns["query"].tolist(), columns["passages"], strict=True))
    assert positives.keys() == {(0, 900), (0, 901), (0, 902), (2, 903), (5, 905)}
    assert positives[2, 903] == 30 and all(positives[0, p] > 2 for p in (900, 901, 902))


@pytest.mark.parametrize("at_once", [16_384, 1])
def test_grades_and_score_files_determine_the_positives(tmp_path, monkeypatch, at_once):
    """By the command: q0's p3 is judged too low, its p6 scores high enough, and p6 is no negative then."""
    monkeypatch.setattr(module, "QUERIES", at_once)
    monkeypatch.chdir(tmp_path)
    tiny.save_passages("p.parquet", 10)
    write_strings("q.parquet", [{"id": ["q0", "q1"]}], ["id"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp3\t1\nq0\t0\tp4\t2\nq1\t0\tp5\t3\n")
    (tmp_path / "cross.json").write_text('{"q0": {"p6": 5, "p1": 4.9}, "q1": {"p5": 9, "p2": 5.5, "p0": 0}}')
    scores.store("cross.json", "q.parquet", "p.parquet", (1.0, 0.0), tmp_path / "cross.parquet")
    write_pool(tmp_path / "pool.parquet", {q: [(p, -p) for p in (0, 1, 2, 6, 7)] for q in (0, 1)})
    more = {"scores": "cross", "min_score": 5.0}
    settings = SETTINGS | {"positive_from": 2, "more_positives": more, "negatives_depth": 10, "deduplicate": False}
    settings |= {"negatives": ["bm25"], "negatives_per_query": 4}
    files = ["--queries", "q.parquet", "--passages", "p.parquet", "--qrels", "train.qrels", "--pools", "pool.parquet"]
    options = ["--positives", "cross.parquet", "--settings", json.dumps(settings), "--out", "t.arrow"]
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *files, *options])
    trainset.main()
    columns, _ = read_arrow("t.arrow")
    examples = list(zip(columns["query"].tolist(), columns["passages"], strict=True))
    assert {(q, int(passages[0])) for q, passages in examples} == {(0, 4), (0, 6), (1, 5), (1, 2)}
    negatives = {q: {p for query, passages in examples if query == q for p in passages[1:].tolist()} for q in (0, 1)}
    assert negatives == {0: {0, 1, 2, 7}, 1: {0, 1, 6, 7}}
