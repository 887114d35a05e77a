"""Fusion of rankings, against plain Python on random rankings with ties, and against ranx."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from led_pipeline.data.examples import Trainset
from led_pipeline.data.fusion import Inputs, fuse, fuse_lists, main, pair_scores, ranked
from led_pipeline.data.tables import Ragged, Ranking, read_ranking, write_ranking, write_strings
from led_pipeline.recipe.systems import Fusion

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "fusion.json").read_text())
NAMES = ["a", "b", "c"]
METHODS = {
    "rrf": {"method": "rrf"},
    "rrf with weights and k": {"method": "rrf", "weights": [0.5, 2, 1], "k": 0},
    "min_max": {"method": "weighted"},
    "min_max of the first 3": {"method": "weighted", "weights": [0.3, 1.7, 1], "depth": 3},
    "z_score": {"method": "weighted", "normalise": "z_score", "weights": [1, 1, 0.25]},
}


def fusion(**keys):
    return Fusion.model_validate({"systems": NAMES} | keys)


def ranking_of(lists):
    """Return a Ranking of {query row: [(passage row, score), ...]}."""
    queries = sorted(lists)
    rows = [np.array([row for row, _ in lists[query]]) for query in queries]
    scores = [np.array([score for _, score in lists[query]]) for query in queries]
    columns = Ragged.from_rows(rows, np.int32), Ragged.from_rows(scores, np.float32)
    return Ranking(np.array(queries, dtype=np.int32), *columns)


def random_lists(seed, queries=12, passages=15):
    """Return lists with many ties, empty lists, single results, equal scores, and queries without an entry."""
    random = np.random.default_rng(seed)
    lists = {}
    for query in range(queries):
        count = int(random.choice([0, 1, 2, 5, 9]))
        rows = random.choice(passages, count, replace=False).tolist()
        scores = sorted(random.integers(-2, 3, count).tolist(), reverse=True)
        if random.random() < 0.85:
            lists[query] = list(zip(rows, map(float, scores), strict=True))
    return lists


def plain(lists, settings, query):
    """Return one query's fused (row, score) pairs, best first, from the definitions, one passage at a time."""
    hits = [per_query.get(query, [])[: settings.depth] for per_query in lists]
    weights = settings.weights or [1] * len(lists)

    def part(ranked, row):
        if not ranked:
            return 0.0
        scores = [score for _, score in ranked]
        place = next((i for i, (other, _) in enumerate(ranked) if other == row), None)
        if settings.method == "rrf":
            return 0.0 if place is None else 1 / ((60 if settings.k is None else settings.k) + place + 1)
        if settings.normalise == "z_score":
            mean = sum(scores) / len(scores)
            deviation = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
            value = min(scores) if place is None else scores[place]
            return (value - mean) / deviation if deviation else 0.0
        if place is None:
            return 0.0
        span = max(scores) - min(scores)
        return (scores[place] - min(scores)) / span if span else 1.0

    rows = {row for ranked in hits for row, _ in ranked}
    totals = {row: sum(w * part(r, row) for w, r in zip(weights, hits, strict=True)) for row in rows}
    as_stored = {row: np.float32(total) for row, total in totals.items()}
    return sorted(as_stored.items(), key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", METHODS)
def test_fusion_equals_the_definition_on_random_rankings_with_ties(name, seed):
    settings, lists = fusion(**METHODS[name]), [random_lists(10 * seed + i) for i in range(3)]
    fused = {query: (rows, scores) for query, rows, scores in fuse([*map(ranking_of, lists)], settings, rows=(0, 12))}
    assert list(fused) == list(range(12))
    for query, (rows, scores) in fused.items():
        expected = plain(lists, settings, query)
        np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-6, atol=1e-7)
        assert sorted(zip(-scores, rows, strict=True)) == list(zip(-scores, rows, strict=True)), "order of ties"
        if len({round(float(score), 5) for score in scores}) == len(scores):  # rounding cannot change the order
            assert rows.tolist() == [row for row, _ in expected]
        assert set(rows.tolist()) == {row for row, _ in expected}


def test_rrf_by_hand():
    lists = [{0: [(7, 3.0), (2, 3.0)]}, {0: [(2, 0.1)]}, {}]
    ((query, rows, scores),) = fuse([*map(ranking_of, lists)], fusion(method="rrf"))
    assert (query, rows.tolist()) == (0, [2, 7])
    np.testing.assert_allclose(scores, [1 / 62 + 1 / 61, 1 / 61], rtol=1e-6)


def test_hits_cut_and_equal_sums_are_in_the_order_of_the_collection():
    lists = [{3: [(9, 1.0), (4, 0.5)]}, {3: [(4, 1.0), (9, 0.5)]}, {3: [(6, 1.0)]}]
    ((_, rows, _),) = fuse([*map(ranking_of, lists)], fusion(method="rrf"), hits=2)
    assert rows.tolist() == [4, 9]


def test_the_only_result_of_a_system_counts_and_missing_passages_are_the_last_of_a_list():
    lists = [{0: [(1, 5.0)]}, {0: [(2, 9.0), (3, 1.0), (4, 0.0)]}, {}]
    by = {n: plain(lists, fusion(**METHODS[n]), 0) for n in ("min_max", "z_score")}
    assert by["min_max"][0] == (1, 1.0) and by["min_max"][1] == (2, 1.0)
    ((_, rows, scores),) = fuse([*map(ranking_of, lists)], fusion(method="weighted", normalise="z_score"))
    of = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    assert of[1] == of[4] < of[3] < of[2], "z_score: not found is as good as found last"


def test_one_query_is_fused_like_a_file_of_queries():
    lists = [random_lists(seed) for seed in (1, 2, 3)]
    rankings = [*map(ranking_of, lists)]
    for query, rows, scores in fuse(rankings, fusion(method="weighted"), 4, (0, 12)):
        alone = [
            next(((r, s) for q, r, s in ranking if q == query), (np.empty(0, np.int32), np.empty(0, np.float32)))
            for ranking in rankings
        ]
        one = fuse_lists(alone, fusion(method="weighted"), 4)
        np.testing.assert_array_equal(one[0], rows)
        np.testing.assert_array_equal(one[1], scores)


@pytest.mark.parametrize("name", GOLDEN["expected"])
def test_fusion_equals_ranx_where_both_define_the_same(name):
    case = GOLDEN["expected"][name]
    settings = Fusion.model_validate({"systems": ["a", "b"]} | case["fusion"])
    lists = [
        {int(qid[1:]): [(int(pid[1:]), score) for pid, score in ranked.items()] for qid, ranked in run.items()}
        for run in case["runs"]
    ]
    for query, rows, scores in fuse([*map(ranking_of, lists)], settings):
        by_ranx = {int(pid[1:]): score for pid, score in case["scores"][f"q{query}"].items()}
        assert set(rows.tolist()) == by_ranx.keys()
        np.testing.assert_allclose(scores, [by_ranx[row] for row in rows.tolist()], rtol=1e-5, atol=1e-6)


# --- files


@pytest.fixture
def files(tmp_path):
    """Write three rankings of 12 queries, whose ids are those of passages 0 to 11; return the inputs and the lists."""
    lists = [random_lists(seed) for seed in (4, 5, 6)]
    paths = [tmp_path / f"{name}.parquet" for name in NAMES]
    for path, per_query in zip(paths, lists, strict=True):
        write_ranking(path, ranking_of(per_query))
    ids = [f"d{i}" for i in range(15)]
    write_strings(tmp_path / "queries.parquet", [{"id": ids[:12], "text": ids[:12]}], ["id", "text"])
    write_strings(tmp_path / "passages.parquet", [{"id": ids, "title": ids, "text": ids}], ["id", "title", "text"])
    return Inputs(paths, tmp_path / "queries.parquet"), lists


def _same(one, other):
    for name in ("queries", "passages", "scores"):
        a, b = (getattr(each, name) for each in (one, other))
        np.testing.assert_array_equal(getattr(a, "values", a), getattr(b, "values", b))


def test_shards_and_blocks_of_queries_change_no_result(files, tmp_path, monkeypatch):
    inputs, lists = files
    whole = fuse([*map(ranking_of, lists)], fusion(method="rrf"), 5, (0, 12))
    command = ["fusion", "rank", "--rankings", *inputs.rankings]
    command += ["--queries", inputs.queries, "--hits", "5", "--settings", fusion(method="rrf").model_dump_json()]
    for shard in range(2):
        out = tmp_path / f"fused.{shard}.parquet"
        monkeypatch.setattr(sys, "argv", [*map(str, command), f"--shard={shard}", "--shards=2", f"--out={out}"])
        main()
    parts = [read_ranking(tmp_path / f"fused.{shard}.parquet") for shard in range(2)]
    assert [len(part) for part in parts] == [6, 6]
    assert np.concatenate([part.passages.values for part in parts]).tolist() == whole.passages.values.tolist()
    monkeypatch.setattr("led_pipeline.data.fusion.RANKING_GROUP", 5)
    blocks = list(ranked(inputs, fusion(method="rrf"), 5, 0, 12))
    assert [len(block) for block in blocks] == [5, 5, 2]
    assert np.concatenate([block.scores.values for block in blocks]).tolist() == whole.scores.values.tolist()


def test_a_passage_with_the_id_of_the_query_is_left_out_before_anything_is_counted(files, tmp_path):
    inputs, lists = files
    with_passages = Inputs(inputs.rankings, inputs.queries, tmp_path / "passages.parquet")
    cut = [{q: [hit for hit in hits if hit[0] != q] for q, hits in per_query.items()} for per_query in lists]
    assert cut != lists
    for keys in METHODS.values():
        (block,) = ranked(with_passages, fusion(**keys), 9, 0, 12)
        _same(block, fuse([*map(ranking_of, cut)], fusion(**keys), 9, (0, 12)))


@pytest.mark.parametrize("name", METHODS)
def test_a_teachers_scores_are_those_of_the_fusion_and_of_the_floor_for_other_passages(files, tmp_path, name):
    inputs, lists = files
    settings, random = fusion(**METHODS[name]), np.random.default_rng(0)
    queries = random.integers(0, 12, 30).astype(np.int32)
    drawn = [random.choice(15, 4, replace=False) for _ in queries]
    Trainset(queries, Ragged.from_rows(drawn, np.int32), examples=30).write(tmp_path / "drawn.arrow")
    for shard in range(2):
        pair_scores(inputs, settings, tmp_path / "drawn.arrow", (shard, 2), tmp_path / f"{shard}.npy")
    scores = np.concatenate([np.load(tmp_path / f"{shard}.npy") for shard in range(2)]).reshape(30, 4)
    for query, rows, values in zip(queries.tolist(), drawn, scores, strict=True):
        expected = dict(plain(lists, settings, query))
        weights = settings.weights or [1, 1, 1]
        floor = sum(
            w * _floor(per_query.get(query, [])[: settings.depth], settings)
            for w, per_query in zip(weights, lists, strict=True)
        )
        np.testing.assert_allclose(values, [expected.get(int(row), floor) for row in rows], rtol=1e-5, atol=1e-6)


def _floor(ranked, settings):
    if settings.normalise != "z_score" or not ranked:
        return 0.0
    scores = np.array([score for _, score in ranked])
    return float((scores.min() - scores.mean()) / scores.std()) if scores.std() else 0.0
