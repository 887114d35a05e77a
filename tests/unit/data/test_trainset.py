import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny

from led_pipeline.data import candidates as candidates_module
from led_pipeline.data import tables, trainset
from led_pipeline.data.order import batch_rows, batches_per_epoch, total_batches, total_steps
from led_pipeline.data.tables import Ragged, Ranking, read_arrow, write_ranking, write_strings
from led_pipeline.data.trainset import Candidates, draw, draw_trainset, join, positives
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.settings import Schedule
from led_pipeline.recipe.step_settings import TrainsetSettings
from led_pipeline.recipe.values import NegativeSource

SETTINGS = {"negatives_per_query": 3, "batch_size": 4, "epochs": 2, "seed": 7}
PAIRS = np.array([(0, 10), (0, 11), (1, 12), (2, 13), (4, 14), (5, 15)], dtype=np.int32)  # query 0 has two positives
POOLS = {
    0: np.arange(100, 130, dtype=np.int32),
    1: np.array([200, 201, 202], dtype=np.int32),
    4: np.array([300, 301], dtype=np.int32),
    5: np.array([400, 400, 401, 402, 403], dtype=np.int32),
}


def write_pool(path, pool) -> None:
    rows = [np.array(passages) for passages in pool.values()]
    scores = [-np.arange(len(row)) for row in rows]
    queries = np.array(list(pool), dtype=np.int32)
    write_ranking(path, Ranking(queries, Ragged.from_rows(rows, np.int32), Ragged.from_rows(scores, np.float32)))


def candidates(folder, pool=POOLS) -> Candidates:
    write_pool(folder / "pool.parquet", pool)
    return Candidates([folder / "pool.parquet"], depth=100)


def drawn(path, pairs=PAIRS, **changes) -> tuple[dict, dict]:
    draw_trainset(pairs, candidates(path.parent), TrainsetSettings(**SETTINGS | changes), path)
    return read_arrow(path)


def examples(columns, epoch: int) -> list[tuple[int, list[int]]]:
    rows = np.flatnonzero(columns["epoch"] == epoch)
    return [(int(columns["query"][row]), columns["passages"][row].tolist()) for row in rows]


# --- the rules of drawing


def test_more_candidates_than_needed_are_drawn_without_replacement():
    for seed in range(50):
        places = draw(10, 6, np.random.default_rng(seed)).tolist()
        assert len(set(places)) == 6 and set(places) <= set(range(10))


def test_every_candidate_is_drawn_equally_often():
    random = np.random.default_rng(0)
    counts = Counter(int(row) for _ in range(6_000) for row in draw(5, 2, random))
    assert all(abs(counts[row] - 2_400) < 5 * (6_000 * 0.4 * 0.6) ** 0.5 for row in range(5))


def test_entries_are_drawn_and_not_passages():
    """A passage that occurs twice in the list can be drawn twice, and is drawn more often."""
    random = np.random.default_rng(0)
    entries = np.array([8, 8, 1, 2])
    draws = [entries[draw(len(entries), 2, random)].tolist() for _ in range(3_000)]
    assert sum(pair == [8, 8] for pair in draws) == pytest.approx(500, abs=100)  # 1 of 6 pairs of entries
    assert sum(pair.count(8) for pair in draws) == pytest.approx(3_000, abs=150)


def test_as_many_candidates_as_needed_are_all_taken():
    assert draw(3, 3, np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_fewer_candidates_than_needed_are_cycled():
    assert draw(3, 8, np.random.default_rng(0)).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_no_candidate_is_refused():
    with pytest.raises(ValueError, match="no candidate"):
        draw(0, 3, np.random.default_rng(0))


# --- candidates


@pytest.fixture
def two_pools(tmp_path):
    """Write the pools of two systems; both know passage 3 for query 0."""
    for name, lists in {"a": {0: [1, 2, 3, 4], 1: [5]}, "b": {0: [3, 6, 1], 2: [7, 8]}}.items():
        write_pool(tmp_path / f"{name}.parquet", lists)
    return [tmp_path / "a.parquet", tmp_path / "b.parquet"]


def by_query(rows) -> list[list[int]]:
    return [rows[i].tolist() for i in range(len(rows))]


def test_pools_are_joined_in_order_and_keep_duplicates(two_pools):
    joined = Candidates(two_pools, depth=3)
    assert by_query(joined.read(0, 4)) == [[1, 2, 3, 3, 6, 1], [5], [7, 8], []]
    assert by_query(joined.read(1, 2)) == [[5]]


def test_deduplication_keeps_the_first_occurrence(two_pools):
    assert by_query(Candidates(two_pools[::-1], 10, deduplicate=True).read(0, 3)) == [[3, 6, 1, 2, 4], [5], [7, 8]]


def test_the_number_of_queries_read_at_once_changes_no_trainset(tmp_path, monkeypatch):
    drawn(tmp_path / "all.arrow")
    monkeypatch.setattr(candidates_module, "QUERIES", 1)
    monkeypatch.setattr(tables, "RANKING_GROUP", 2)
    drawn(tmp_path / "one.arrow")
    assert (tmp_path / "all.arrow").read_bytes() == (tmp_path / "one.arrow").read_bytes()


# --- the trainset


def test_every_epoch_visits_every_judged_pair_with_negatives_once(tmp_path):
    columns, metadata = drawn(tmp_path / "t.arrow")
    assert metadata["examples"] == "5"
    for epoch in range(2):
        pairs = [(query, passages[0]) for query, passages in examples(columns, epoch)]
        assert sorted(pairs) == [(0, 10), (0, 11), (1, 12), (4, 14), (5, 15)]


def test_negatives_follow_the_positive_and_come_from_the_querys_pool(tmp_path):
    columns, _ = drawn(tmp_path / "t.arrow")
    for epoch in range(2):
        for query, (_, *negatives) in examples(columns, epoch):
            assert len(negatives) == 3 and set(negatives) <= set(POOLS[query].tolist())
            if query == 0:
                assert len(set(negatives)) == 3
            if query == 1:
                assert negatives == [200, 201, 202]
            if query == 4:
                assert negatives == [300, 301, 300]


def test_epochs_differ_in_order(tmp_path):
    pairs = np.array([(0, 10 + i) for i in range(30)], dtype=np.int32)
    columns, _ = drawn(tmp_path / "t.arrow", pairs)
    first, second = examples(columns, 0), examples(columns, 1)
    assert [p[0] for _, p in first] != [p[0] for _, p in second]


def test_epochs_differ_in_negatives(tmp_path):
    columns, _ = drawn(tmp_path / "t.arrow", PAIRS[:1], epochs=20)
    assert len({tuple(sorted(examples(columns, epoch)[0][1][1:])) for epoch in range(20)}) > 15


def test_a_seed_decides_everything(tmp_path):
    same, again, other = (drawn(tmp_path / f"{i}.arrow", seed=seed)[0] for i, seed in enumerate((7, 7, 8)))
    np.testing.assert_array_equal(same["query"], again["query"])
    np.testing.assert_array_equal(same["passages"].values, again["passages"].values)
    assert (tmp_path / "0.arrow").read_bytes() == (tmp_path / "1.arrow").read_bytes()
    assert same["passages"].values.tolist() != other["passages"].values.tolist()


def test_the_manifest_counts_what_was_dropped(tmp_path):
    drawn(tmp_path / "t.arrow")
    manifest = read_json(tmp_path / "t.json")
    assert manifest["dropped_without_negatives"] == 1  # query 2
    assert (manifest["examples_per_epoch"], manifest["queries"], manifest["epochs"]) == (5, 4, 2)


def by_hand(columns, size: int) -> tuple[int, int, int]:
    """Count, batch by batch, the negatives, those that are positives of their query, and the queries with such."""
    negatives = wrong = touched = 0
    for epoch in range(int(columns["epoch"].max()) + 1):
        rows = np.flatnonzero(columns["epoch"] == epoch).tolist()
        for start in range(0, len(rows), size):
            batch = (rows + rows)[start : start + size]
            for row in batch:
                positives = columns["positives"][row]
                others = [
                    text
                    for other in batch
                    for place, text in enumerate(columns["texts"][other].tolist())
                    if (other, place) != (row, 0)
                ]
                hits = sum(text in positives for text in others)
                negatives, wrong, touched = negatives + len(others), wrong + hits, touched + bool(hits)
    return negatives, wrong, touched


def test_the_manifest_counts_the_positives_among_the_negatives_of_the_batches(tmp_path):
    """Passages 12 and 201 are copies of 10, and queries 3 and 5 have one positive in common."""
    texts = np.arange(500, dtype=np.int32)
    texts[[12, 201]] = 10
    with_texts = replace(candidates(tmp_path), texts=texts)
    pairs = np.array([(0, 10), (0, 11), (1, 12), (4, 15), (5, 15)], dtype=np.int32)
    relevant = np.concatenate([pairs, [(4, 14), (0, 10)]]).astype(np.int32)
    draw_trainset(pairs, with_texts, TrainsetSettings(**SETTINGS | {"batch_size": 3}), tmp_path / "t.arrow", relevant)
    columns, _ = read_arrow(tmp_path / "t.arrow")
    by_query = {0: [10, 11], 1: [10], 4: [14, 15], 5: [15]}
    for i, query in enumerate(columns["query"].tolist()):
        assert columns["positives"][i].tolist() == by_query[query]
        assert columns["texts"][i].tolist() == texts[columns["passages"][i]].tolist()
    manifest = read_json(tmp_path / "t.json")
    counted = ("negatives_in_batches", "positives_among_them", "queries_with_positives_among_them")
    assert tuple(manifest[name] for name in counted) == by_hand(columns, 3)
    assert manifest["positives_among_them"] > 5 and manifest["queries_in_batches"] == 12
    assert (manifest["batch_size"], manifest["batches_with_a_query_twice"]) == (3, 0)


def test_a_batch_larger_than_an_epoch_holds_the_epoch_with_a_note(tmp_path, capsys):
    drawn(tmp_path / "t.arrow", batch_size=64)
    manifest = read_json(tmp_path / "t.json")
    assert (manifest["batch_size"], manifest["queries_in_batches"], manifest["epochs"]) == (5, 10, 2)
    assert manifest["batches_with_a_query_twice"] == 2, "query 0 has two positives, and there is one batch"
    printed = capsys.readouterr().out
    assert "batch_size: 64 is more than the 5 examples of an epoch, so batches hold 5" in printed
    assert "2 batches hold a query twice" in printed


def test_several_positives_of_a_query_are_in_different_batches(tmp_path):
    pairs = np.array([(query, 10 * query + i) for query in range(8) for i in range(6)], dtype=np.int32)
    pool = {query: np.arange(300, 310) for query in range(8)}
    draw_trainset(
        pairs, candidates(tmp_path, pool), TrainsetSettings(**SETTINGS | {"batch_size": 7}), tmp_path / "t.arrow"
    )
    columns, _ = read_arrow(tmp_path / "t.arrow")
    for step in range(14):
        assert len(set(columns["query"][batch_rows(step, 48, 7)])) == 7
    assert read_json(tmp_path / "t.json")["batches_with_a_query_twice"] == 0


def test_the_epochs_of_accumulated_batches_are_drawn_and_counted(tmp_path):
    columns, _ = drawn(tmp_path / "t.arrow", epochs=10, max_steps=3, gradient_accumulation=2)  # two batches an epoch
    manifest = read_json(tmp_path / "t.json")
    assert columns["epoch"].max() == 2 and manifest["queries_in_batches"] == 3 * 2 * 4
    whole, _ = drawn(tmp_path / "whole.arrow", epochs=3)
    assert columns["passages"].values.tolist() == whole["passages"].values.tolist(), "the same examples in their order"


def test_only_the_epochs_that_training_reaches_are_drawn(tmp_path):
    columns, _ = drawn(tmp_path / "t.arrow", epochs=10, max_steps=3)  # two steps an epoch
    assert columns["epoch"].max() == 1


# --- a depth that changes from epoch to epoch


def ranks_by_epoch(columns, query: int, pool: list[int]) -> list[set[int]]:
    """Return the ranks, from 0, of a query's negatives in each epoch."""
    epochs = range(int(columns["epoch"].max()) + 1)
    drawn = [[passages[1:] for q, passages in examples(columns, epoch) if q == query] for epoch in epochs]
    return [{pool.index(passage) for passages in of_epoch for passage in passages} for of_epoch in drawn]


@pytest.mark.parametrize(("first", "last", "depths"), [(20, 4, [20, 12, 4]), (4, 20, [4, 12, 20]), (9, 9, [9, 9, 9])])
def test_negatives_get_harder_or_easier_from_epoch_to_epoch(tmp_path, first, last, depths):
    pool, changes = POOLS[0].tolist(), {"epochs": 3, "negatives_depth": first, "negatives_depth_end": last}
    ranks = [set(), set(), set()]
    for seed in range(30):
        columns, _ = drawn(tmp_path / "t.arrow", seed=seed, **changes)
        ranks = [before | more for before, more in zip(ranks, ranks_by_epoch(columns, 0, pool), strict=True)]
    assert ranks == [set(range(depth)) for depth in depths], "all of the depth, and nothing beyond it"
    manifest = read_json(tmp_path / "t.json")
    assert (manifest["negatives_depths"], manifest["examples_per_epoch"]) == (depths, 5)


def test_an_end_equal_to_the_depth_draws_the_same_examples(tmp_path):
    drawn(tmp_path / "a.arrow", negatives_depth=9)
    drawn(tmp_path / "b.arrow", negatives_depth=9, negatives_depth_end=9)
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "b.arrow").read_bytes()


def test_the_last_epoch_that_training_reaches_has_the_last_depth(tmp_path):
    changes = {"epochs": 9, "max_steps": 4, "negatives_depth": 20, "negatives_depth_end": 4}  # two steps an epoch
    drawn(tmp_path / "t.arrow", **changes)
    assert read_json(tmp_path / "t.json")["negatives_depths"] == [20, 4]


def test_a_depth_is_of_each_pool_before_its_selection_and_queries_without_a_candidate_in_it_are_dropped(tmp_path):
    pools = {0: [*range(100, 130)], 1: [200, 201, 202], 5: [400, 401, 402, 403, 404]}
    write_pool(tmp_path / "a.parquet", pools)
    write_pool(tmp_path / "b.parquet", {0: [130, 101]})
    both = Candidates(
        [tmp_path / "a.parquet", tmp_path / "b.parquet"], 20, selections=[NegativeSource(system="a", skip=3), None]
    )
    changes = {"epochs": 2, "negatives_depth": 20, "negatives_depth_end": 4, "negatives_per_query": 19}
    draw_trainset(PAIRS, both, TrainsetSettings(**SETTINGS | changes), tmp_path / "t.arrow")
    columns, _ = read_arrow(tmp_path / "t.arrow")
    by_query = [{q: set(p[1:]) for q, p in examples(columns, epoch)} for epoch in (0, 1)]
    assert by_query[0] == {0: {*range(103, 120), 130, 101}, 5: {403, 404}}
    assert by_query[1] == {0: {103, 130, 101}, 5: {403}}
    assert read_json(tmp_path / "t.json")["dropped_without_negatives"] == 3, "queries 1, 2 and 4"


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[:0]])
def test_no_example_at_all_is_an_error_that_says_where_to_look(tmp_path, pairs):
    with pytest.raises(InputError, match="no judged query has negatives"):
        draw_trainset(pairs, candidates(tmp_path, {9: [1]}), TrainsetSettings(**SETTINGS), tmp_path / "t.arrow")


def test_positives_are_the_judgements_above_0(tmp_path):
    write_strings(tmp_path / "p.parquet", [{"id": ["a", "b", "c"]}], ["id"])
    write_strings(tmp_path / "q.parquet", [{"id": ["x", "y", "z"]}], ["id"])
    (tmp_path / "train.qrels").write_text("y\t0\tc\t1\ny\t0\ta\t3\nx\t0\tb\t0\nz\t0\tb\t1\n")
    pairs = positives(tmp_path / "train.qrels", tmp_path / "q.parquet", tmp_path / "p.parquet")
    assert pairs.tolist() == [[1, 0], [1, 2], [2, 1]]


def test_no_positive_at_all_has_the_shape_of_pairs(tmp_path):
    write_strings(tmp_path / "ids.parquet", [{"id": ["a"]}], ["id"])
    (tmp_path / "train.qrels").write_text("a\t0\ta\t0\n")
    assert positives(tmp_path / "train.qrels", tmp_path / "ids.parquet", tmp_path / "ids.parquet").shape == (0, 2)


# --- steps


def test_steps_of_the_recipe():
    """MS MARCO's 532,751 distinct judged pairs at batch sizes 16 and 48; the paper's code counts ten lines twice."""
    schedule = Schedule(epochs=3, batch_size=16)
    assert (batches_per_epoch(532_751, 16), batches_per_epoch(532_761, 16)) == (33_297, 33_298)
    assert total_steps(532_751, schedule) == 99_891
    assert batches_per_epoch(532_751, 48) == 11_099
    assert total_steps(532_751, Schedule(epochs=3, batch_size=48)) == 33_297
    assert total_steps(532_751, Schedule(epochs=3, batch_size=16, max_steps=500)) == 500
    assert total_steps(532_751, Schedule(epochs=3, batch_size=16, max_steps=200_000)) == 99_891


@pytest.mark.parametrize(
    ("epochs", "most", "steps", "batches"),
    [(2, None, 3, 8), (3, None, 4, 12), (3, 2, 2, 6), (3, 9, 4, 12), (1, 2, 2, 4)],
)
def test_accumulated_batches_run_over_the_ends_of_epochs_and_the_last_step_takes_the_rest(epochs, most, steps, batches):
    schedule = Schedule(epochs=epochs, batch_size=3, max_steps=most, gradient_accumulation=3)
    assert (total_steps(10, schedule), total_batches(10, schedule)) == (steps, batches)


@pytest.mark.parametrize(("count", "size"), [(12, 4), (13, 4), (5, 4), (4, 4), (1, 1)])
def test_an_epochs_steps_cover_it_and_the_last_is_filled_from_its_start(count, size):
    steps = batches_per_epoch(count, size)
    for epoch in range(3):
        rows = np.concatenate([batch_rows(epoch * steps + step, count, size) for step in range(steps)]).tolist()
        assert [row - epoch * count for row in rows] == [i % count for i in range(steps * size)]
        assert set(rows) == set(range(epoch * count, (epoch + 1) * count))


# --- the teachers' scores


def save_scores(path, scores) -> list:
    """Write scores in two shards."""
    middle = len(scores) // 3
    paths = [path.with_suffix(f".{i}.npy") for i in range(2)]
    for part, file in zip((scores[:middle], scores[middle:]), paths, strict=True):
        np.save(file, np.asarray(part, dtype=np.float32))
    return paths


def test_scores_are_joined_row_by_row_for_every_teacher(tmp_path):
    columns, _ = drawn(tmp_path / "drawn.arrow")
    count = len(columns["passages"].values)
    teachers = {
        "lex": save_scores(tmp_path / "lex", np.arange(count)),
        "rt": save_scores(tmp_path / "rt", -np.arange(count)),
    }
    join(tmp_path / "drawn.arrow", teachers, tmp_path / "t.arrow")
    joined, metadata = read_arrow(tmp_path / "t.arrow")
    assert metadata["examples"] == "5"
    np.testing.assert_array_equal(joined["passages"].values, columns["passages"].values)
    assert joined["score_lex"][2].tolist() == [8, 9, 10, 11]
    assert joined["score_rt"][9].tolist() == [-36, -37, -38, -39]


@pytest.mark.parametrize("fault", ["short", "long", "nan", "infinite"])
def test_scores_that_do_not_fit_are_an_error(tmp_path, fault):
    drawn(tmp_path / "drawn.arrow")
    scores = np.zeros({"short": 39, "long": 41}.get(fault, 40))
    scores[-1] = {"nan": np.nan, "infinite": np.inf}.get(fault, 0)
    with pytest.raises(InputError, match="expected 40 finite scores of teacher 'lex'"):
        join(tmp_path / "drawn.arrow", {"lex": save_scores(tmp_path / "lex", scores)}, tmp_path / "t.arrow")
    assert not (tmp_path / "t.arrow").exists()


@pytest.mark.parametrize(
    ("from_grade", "expected"),
    [
        (1, [(0, 1), (0, 2), (1, 3), (2, 4), (2, 5)]),
        (2, [(0, 1), (2, 4), (2, 5)]),
        ("highest", [(0, 1), (1, 3), (2, 4), (2, 5)]),  # of query 3 the highest grade is 0
    ],
)
def test_positives_have_some_grade_or_their_querys_highest(tmp_path, from_grade, expected):
    tiny.save_passages(tmp_path / "p.parquet", 10)
    write_strings(tmp_path / "q.parquet", [{"id": [f"q{i}" for i in range(4)]}], ["id"])
    judged = {"q0": {1: 3, 2: 1, 7: 0}, "q1": {3: 1}, "q2": {4: 2, 5: 2}, "q3": {6: 0}}
    lines = [f"{query}\t0\tp{row}\t{grade}\n" for query, grades in judged.items() for row, grade in grades.items()]
    (tmp_path / "train.qrels").write_text("".join(lines))
    pairs = positives(tmp_path / "train.qrels", tmp_path / "q.parquet", tmp_path / "p.parquet", from_grade)
    assert [tuple(pair) for pair in pairs.tolist()] == expected


def test_copies_of_a_positive_are_left_out_of_judged_candidates_too(tmp_path, monkeypatch):
    """Grades 3, 2 and 0 for p1, p2 and p3 of q0, for which only the highest is positive; p3 and p6 copy p1."""
    monkeypatch.chdir(tmp_path)
    tiny.save_passages("p.parquet", 10, ["a", "same", "b", " same", "c", "d", "same"])
    write_strings("q.parquet", [{"id": ["q0"]}], ["id"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp1\t3\nq0\t0\tp2\t2\nq0\t0\tp3\t0\n")
    write_pool(tmp_path / "qrels.parquet", {0: [1, 2, 3]})
    keys = {"negatives": ["qrels"], "negatives_depth": 10, "deduplicate": False, "positive_from": "highest"}
    inputs = ["--queries", "q.parquet", "--passages", "p.parquet", "--qrels", "train.qrels"]
    pools = ["--pools", "qrels.parquet", "--settings", json.dumps(SETTINGS | keys | {"epochs": 1})]
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *inputs, *pools, "--out", "drawn.arrow"])
    trainset.main()
    columns, _ = read_arrow("drawn.arrow")
    assert examples(columns, 0) == [(0, [1, 2, 2, 2])]
    assert columns["positives"][0].tolist() == [1], "a recipe that trains on `qrels` takes lower grades as negatives"


@pytest.mark.parametrize("source", ["qrels", {"system": "qrels", "min_score": None, "max_score": None, "skip": 0}])
def test_the_judged_passages_below_the_positives_may_be_candidates(tmp_path, monkeypatch, source):
    """Query q0 has grades 3, 2, 2, 0 for p1, p2, p3 and p4; q1 has 1 for p5; the pool of `qrels` holds them all."""
    monkeypatch.chdir(tmp_path)
    tiny.save_passages(tmp_path / "p.parquet", 10)
    write_strings(tmp_path / "q.parquet", [{"id": ["q0", "q1"]}], ["id"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp1\t3\nq0\t0\tp2\t2\nq0\t0\tp3\t2\nq0\t0\tp4\t0\nq1\t0\tp5\t1\n")
    write_pool(tmp_path / "qrels.parquet", {0: [1, 2, 3, 4], 1: [5]})
    write_pool(tmp_path / "bm25.parquet", {0: [8], 1: [9]})
    if isinstance(source, dict):
        source = source | {"first": None, "last": None, "random": None}
    keys = {"negatives": [source, "bm25"], "negatives_depth": 10, "deduplicate": False, "positive_from": "highest"}
    settings = SETTINGS | keys | {"epochs": 1, "negatives_per_query": 4}
    inputs = ["--queries", "q.parquet", "--passages", "p.parquet", "--qrels", "train.qrels"]
    pools = ["--pools", "qrels.parquet", "bm25.parquet", "--settings", json.dumps(settings)]
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *inputs, *pools, "--out", "drawn.arrow"])
    trainset.main()
    assert sorted(examples(read_arrow(tmp_path / "drawn.arrow")[0], 0)) == [(0, [1, 2, 3, 4, 8]), (1, [5, 9, 9, 9, 9])]


def test_the_commands_draw_and_join(two_pools, tmp_path, monkeypatch):
    tiny.save_passages(tmp_path / "p.parquet", 10)
    write_strings(tmp_path / "q.parquet", [{"id": ["q0", "q1", "q2"]}], ["id"])
    (tmp_path / "train.qrels").write_text("q0\t0\tp9\t1\nq2\t0\tp0\t1\n")
    settings = SETTINGS | {"negatives_depth": 1, "deduplicate": True, "epochs": 1}
    monkeypatch.chdir(tmp_path)
    inputs = ["--queries", "q.parquet", "--passages", "p.parquet", "--qrels", "train.qrels"]
    pools = ["--pools", *map(str, two_pools), "--settings", json.dumps(settings)]
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *inputs, *pools, "--out", "drawn.arrow"])
    trainset.main()
    np.save("lex.0.npy", np.arange(8, dtype=np.float32))
    scores = ["--scores", "lex", "lex.0.npy"]
    monkeypatch.setattr(sys, "argv", ["trainset", "join", "--drawn", "drawn.arrow", *scores, "--out", "t.arrow"])
    trainset.main()
    columns, _ = read_arrow(tmp_path / "t.arrow")
    assert sorted(examples(columns, 0)) == [(0, [9, 1, 3, 1]), (2, [0, 7, 7, 7])]
    assert columns["score_lex"][1].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"seed": 1, "epochs": 0}', r"--settings: epochs: .*at least 1"),
        ('{"seed": 1, "epoch": 2}', r"--settings: epoch: no such key \(did you mean epochs\?\)"),
        ('{"epochs": 2}', r"--settings: seed: this key is required"),
        ("{", r"--settings: "),
    ],
)
def test_settings_that_a_step_cannot_use_are_short_errors(monkeypatch, text, sentence):
    inputs = [part for name in ("queries", "passages", "qrels", "pools", "out") for part in (f"--{name}", "x")]
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *inputs, "--settings", text])
    with pytest.raises(InputError, match=sentence):
        trainset.main()


@pytest.mark.parametrize("more", [None, {"scores": "ce", "min_score": 1.0}])
def test_a_ranking_of_positives_and_its_key_go_together(monkeypatch, more):
    inputs = [part for name in ("queries", "passages", "qrels", "pools", "out") for part in (f"--{name}", "x")]
    positives = [] if more else ["--positives", "x"]
    settings = json.dumps({"seed": 1, "more_positives": more})
    monkeypatch.setattr(sys, "argv", ["trainset", "draw", *inputs, *positives, "--settings", settings])
    with pytest.raises(InputError, match="give both"):
        trainset.main()
