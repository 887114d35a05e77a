"""Measures against values by hand and a second implementation; paired tests against enumeration and SciPy."""

import hashlib
import json
import math
import random
import subprocess
import sys
from importlib.metadata import version
from itertools import product

import numpy as np
import pytest
from scipy import stats

from led_pipeline.data import tables
from led_pipeline.data.tables import Ragged, Ranking, write_ranking, write_strings
from led_pipeline.evaluation.evaluate import (
    PassageIds,
    measures_of,
    passage_ids,
    read_per_query,
    with_ids,
    write_per_query,
)
from led_pipeline.evaluation.measures import Evaluator, measure
from led_pipeline.evaluation.significance import compare
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.measures import MEASURES, within


def values(pids, grades, relevant_from=1, scores=None):
    """Measure one query whose passages are ranked in the order given."""
    scores = scores if scores is not None else [float(-i) for i in range(len(pids))]
    return measure([("q", pids, scores)], {"q": grades}, relevant_from).per_query["q"]


def passages(n):
    return [f"p{i}" for i in range(n)]


def test_a_perfect_ranking_measures_1_everywhere():
    assert values(["a", "b", "c"], {"a": 2, "b": 1}) == dict.fromkeys(MEASURES, 1.0)


def test_two_relevant_passages_make_recall_and_hit_differ():
    ranked = [*passages(2), "a", *passages(60)[2:], "b"]  # a at rank 3, b at rank 62
    got = values(ranked, {"a": 1, "b": 1})
    assert got["MRR@10"] == pytest.approx(1 / 3)
    assert (got["recall@50"], got["hit@50"]) == (0.5, 1.0)
    assert (got["recall@100"], got["hit@100"]) == (1.0, 1.0)
    # Gain 1 at rank 3 against gains 1 at ranks 1 and 2; rank r is discounted by log2(r + 1).
    assert got["nDCG@10"] == pytest.approx((1 / 2) / (1 + 1 / math.log2(3)))


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (9, 1 / 9), (10, 0.1), (11, 0.0), (100, 0.0)])
def test_reciprocal_rank_is_cut_at_10(rank, expected):
    ranked = passages(120)
    assert values(ranked, {f"p{rank - 1}": 1})["MRR@10"] == pytest.approx(expected)


def test_a_measure_at_any_cut_off_is_that_of_the_truncated_ranking():
    judged = {"q": {"a": 1, "b": 3, "c": 1}}
    ranking = {"q": {"x": 5.0, "a": 4.0, "y": 3.0, "b": 2.0}}
    names = ["MRR@1", "MRR@2", "P@2", "recall@4", "hit@1", "MAP@4"]
    expected = [0.0, 1 / 2, 1 / 2, 2 / 3, 0.0, (1 / 2 + 2 / 4) / 3]
    values = Evaluator(judged, names).values(ranking | {"other": {"a": 1.0}})
    assert values.keys() == judged.keys() and values["q"] == pytest.approx(dict(zip(names, expected, strict=True)))


def test_fewer_than_10_results_are_no_error():
    got = values(["x", "a"], {"a": 1, "b": 1, "c": 1})
    assert got["MRR@10"] == 0.5
    assert got["recall@50"] == got["recall@1000"] == pytest.approx(1 / 3)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert got["nDCG@10"] == pytest.approx(1 / math.log2(3) / ideal)


def test_the_grade_cut_moves_binary_measures_and_leaves_ndcg():
    ranked, grades = ["low", "high", "none"], {"low": 1, "high": 3, "none": 0, "absent": 2}
    at_1, at_2 = values(ranked, grades, 1), values(ranked, grades, 2)
    assert (at_1["MRR@10"], at_2["MRR@10"]) == (1.0, 0.5)
    assert at_1["recall@50"] == pytest.approx(2 / 3)
    assert at_2["recall@50"] == 0.5
    ideal = 3 + 2 / math.log2(3) + 1 / 2
    assert at_1["nDCG@10"] == at_2["nDCG@10"] == pytest.approx((1 + 3 / math.log2(3)) / ideal)


def test_a_query_judged_below_the_cut_counts_0_and_keeps_its_ndcg():
    qrels = {"q": {"a": 1}, "r": {"a": 2}}
    run = [("q", ["a"], [1.0]), ("r", ["a"], [1.0])]
    measured = measure(run, qrels, relevant_from=2)
    assert measured.without_relevant == 1
    assert measured.per_query["q"]["nDCG@10"] == 1.0
    means = measured.means()
    assert (means["MRR@10"], means["recall@50"], means["hit@50"], means["nDCG@10"]) == (0.5, 0.5, 0.5, 1.0)


def test_ties_are_broken_by_passage_id_highest_first():
    assert values(["a", "b"], {"b": 1}, scores=[1.0, 1.0])["MRR@10"] == 1.0
    assert values(["a", "b"], {"a": 1}, scores=[1.0, 1.0])["MRR@10"] == 0.5
    assert values(["9", "10"], {"10": 1}, scores=[1.0, 1.0])["MRR@10"] == 0.5  # ids are strings: "9" is above "10"


def test_scores_equal_in_32_bits_are_a_tie():
    assert values(["a", "b"], {"a": 1}, scores=[1.0 + 1e-12, 1.0])["MRR@10"] == 0.5


def test_a_tie_across_rank_10_is_broken_before_the_cut():
    ranked = [*passages(10), "z"]  # all tied: z comes first
    assert values(ranked, {"z": 1}, scores=[1.0] * 11)["MRR@10"] == 1.0


def test_queries_without_results_count_0_in_every_mean():
    measured = measure([("a", ["p"], [1.0])], {"a": {"p": 1}, "b": {"p": 1}, "c": {"p": 1}, "d": {"p": 1}})
    assert measured.without_results == 3
    assert measured.means() == dict.fromkeys(MEASURES, 0.25)
    assert list(measured.per_query) == ["a", "b", "c", "d"]


def test_results_of_unjudged_queries_are_dropped_and_counted():
    run = [("x", ["p"], [1.0]), ("a", ["p"], [1.0]), ("y", ["p"], [1.0])]
    measured = measure(run, {"a": {"p": 1}})
    assert measured.unjudged_dropped == 2
    assert measured.means() == dict.fromkeys(MEASURES, 1.0)


def test_empty_qrels_and_a_grade_cut_of_0_are_refused():
    with pytest.raises(InputError, match="have no query"):
        measure([], {})
    with pytest.raises(InputError, match="from 1 to 1,000, got 0"):
        measure([], {"q": {"a": 1}}, relevant_from=0)


def second_implementation(pids, scores, grades, cut):
    """All measures of one query in plain Python."""
    order = sorted(
        zip(pids, scores, strict=True), key=lambda pair: (np.float32(pair[1]), pair[0].encode()), reverse=True
    )
    ranked = [pid for pid, _ in order]
    relevant = {pid for pid, grade in grades.items() if grade >= cut}
    ranks = [rank for rank, pid in enumerate(ranked, 1) if pid in relevant]
    gains = [max(grades.get(pid, 0), 0) for pid in ranked[:10]]
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)[:10]

    def dcg(gains):
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))

    expected = {
        "MRR@10": 1 / ranks[0] if ranks and ranks[0] <= 10 else 0.0,
        "nDCG@10": dcg(gains) / dcg(ideal) if any(ideal) else 0.0,
    }
    for k in (50, 100, 1000):
        hits = sum(rank <= k for rank in ranks)
        expected |= {f"recall@{k}": hits / len(relevant) if relevant else 0.0, f"hit@{k}": float(hits > 0)}
    return expected


@pytest.mark.parametrize("cut", [1, 2])
def test_measures_agree_with_a_second_implementation_on_random_runs(cut):
    draw = random.Random(5)
    ids = [str(i) for i in range(400)]
    for _ in range(150):
        pids = draw.sample(ids, draw.choice([1, 5, 60, 300]))
        scores = [draw.choice([draw.random(), round(draw.random(), 1)]) for _ in pids]
        grades = {pid: draw.choice([0, 0, 1, 2, 3]) for pid in draw.sample(ids, draw.choice([1, 3, 40]))}
        got = values(pids, grades, cut, scores)
        assert got == pytest.approx(second_implementation(pids, scores, grades, cut), abs=1e-12)


def test_measures_of_whole_rankings_and_at_other_cut_offs_agree_with_plain_python():
    draw = random.Random(6)
    names = ["MAP", "MRR", "Rprec", "nDCG", "P@3", "MAP@7", "MRR@2"]
    for _ in range(50):
        pids = draw.sample(passages(60), draw.choice([1, 5, 60]))
        grades = {pid: draw.choice([0, 1, 2]) for pid in draw.sample(passages(60), draw.choice([2, 30]))}
        measured = measure([("q", pids, [-float(i) for i in range(len(pids))])], {"q": grades}, 1, names)
        relevant = sum(grade > 0 for grade in grades.values())
        hits = [grades.get(pid, 0) > 0 for pid in pids]
        precision = [sum(hits[:rank]) / rank for rank in range(1, len(pids) + 1)]

        def dcg(gains):
            return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))

        def average(cut, hits=hits, precision=precision, relevant=relevant):
            return sum(p for p, hit in zip(precision[:cut], hits[:cut], strict=True) if hit) / max(1, relevant)

        ideal = dcg(sorted(grades.values(), reverse=True))
        first = hits.index(True) + 1 if any(hits) else math.inf
        expected = [
            average(len(pids)),
            1 / first,
            sum(hits[:relevant]) / max(1, relevant),
            dcg(grades.get(pid, 0) for pid in pids) / ideal if ideal else 0.0,
            sum(hits[:3]) / 3,
            average(7),
            1 / first if first <= 2 else 0.0,
        ]
        assert list(measured.means()) == names
        assert measured.per_query["q"] == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-12)


def table(numbers):
    return {f"q{i}": {"MRR@10": value} for i, value in enumerate(numbers)}


def test_the_randomisation_test_agrees_with_all_exchanges_counted_out():
    a = [0.9, 0.5, 1.0, 0.2, 0.7, 0.4, 1.0, 0.3, 0.5, 0.1]
    b = [0.5, 0.5, 0.3, 0.3, 0.2, 0.5, 0.4, 0.1, 0.25, 0.2]
    differences = np.array(a) - np.array(b)
    sums = np.array([np.dot(signs, differences) for signs in product((-1, 1), repeat=10)])
    exact = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12)
    test = compare(table(a), table(b), "MRR@10", permutations=50_000)
    assert test.p_randomisation == pytest.approx(exact, abs=0.005)  # more than 3 standard errors
    assert test.p_t == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert test.difference == pytest.approx(0.235)
    assert (test.wins, test.losses, test.ties) == (6, 3, 1)
    assert (test.mean_a, test.mean_b) == pytest.approx((0.56, 0.325))


def test_the_randomisation_test_depends_on_the_seed_alone_and_not_on_the_direction():
    draw = np.random.default_rng(3)
    a, b = table(draw.random(200)), table(draw.random(200))
    first = compare(a, b, "MRR@10", seed=7)
    assert compare(a, b, "MRR@10", seed=7) == first
    assert compare(b, a, "MRR@10", seed=7).p_randomisation == first.p_randomisation
    assert compare(b, a, "MRR@10", seed=7).difference == -first.difference


def test_p_is_never_0_since_the_observed_difference_counts_as_one_of_the_exchanges():
    a, b = table([1.0] * 60), table([0.0] * 60)  # one exchange in 2^59 reaches this
    assert compare(a, b, "MRR@10", permutations=999).p_randomisation == 1 / 1_000


def test_many_queries_are_exchanged_in_several_blocks():
    differences = np.random.default_rng(0).normal(0.01, 1, 5_000)
    z = differences.mean() / differences.std() * len(differences) ** 0.5
    test = compare(table(differences), table([0.0] * 5_000), "MRR@10", permutations=2_000)  # 800 fit into a block
    assert test.p_randomisation == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.05) and test.p_randomisation > 0.15


def test_one_query_gives_no_significance():
    test = compare(table([0.5]), table([0.25]), "MRR@10")
    assert (test.p_randomisation, test.p_t, test.wins) == (1.0, None, 1)


def test_equal_systems_have_p_1_and_no_t():
    test = compare(table([0.5, 1.0]), table([0.5, 1.0]), "MRR@10")
    assert (test.p_randomisation, test.p_t, test.difference, test.ties) == (1.0, None, 0.0, 2)


def test_systems_measured_on_different_queries_are_not_compared():
    with pytest.raises(InputError, match="query q1 was measured for one"):
        compare(table([1.0, 1.0]), table([1.0]), "MRR@10")


def test_per_query_values_survive_the_file(tmp_path):
    per_query = {'odd"id': dict.fromkeys(MEASURES, 1 / 3), "2": dict.fromkeys(MEASURES, 0.0)}
    write_per_query(tmp_path / "x.tsv", per_query)
    assert read_per_query(tmp_path / "x.tsv") == per_query
    lines = (tmp_path / "x.tsv").read_bytes().decode().split("\n")
    assert lines[0].split("\t") == ["qid", *MEASURES] and lines[2].split("\t") == ["2", *["0.0"] * len(MEASURES)]


def test_a_per_query_file_without_its_header_is_refused(tmp_path):
    (tmp_path / "x.tsv").write_text("1\t0.5\n")
    with pytest.raises(InputError, match=r"x\.tsv:1: expected a header"):
        read_per_query(tmp_path / "x.tsv")


def test_passage_ids_are_found_in_every_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ID_GROUPS", 2)  # row groups that are read at once
    batches = ({"id": [f"p{i}" for i in range(start, start + 10)]} for start in range(0, 50, 10))
    write_strings(tmp_path / "passages.parquet", batches, ["id"])
    rows = np.array([49, 0, 10, 9, 10], dtype=np.int32)
    assert passage_ids(tmp_path / "passages.parquet", rows) == {0: "p0", 9: "p9", 10: "p10", 49: "p49"}


def test_a_passage_with_the_id_of_the_query_can_be_kept_out_of_its_results(tmp_path):
    write_strings(tmp_path / "passages.parquet", [{"id": ["a", "b", "c"]}], ["id"])
    passages = PassageIds.read(tmp_path / "passages.parquet", np.arange(3, dtype=np.int32))
    lists = [np.array(rows) for rows in ([1, 0, 2], [0, 1, 2], [2])]
    scores = [np.arange(len(rows), 0, -1) for rows in lists]
    ranking = Ranking(np.arange(3), Ragged.from_rows(lists, np.int32), Ragged.from_rows(scores, np.float32))
    queries = ["b", "x", "c"]
    assert list(with_ids([ranking], queries, passages, 2)) == [
        ("b", ["b", "a"], [3.0, 2.0]), ("x", ["a", "b"], [3.0, 2.0]), ("c", ["c"], [1.0]),
    ]  # fmt: skip
    assert list(with_ids([ranking], queries, passages, 2, drop_same_id=True)) == [
        ("b", ["a", "c"], [2.0, 1.0]), ("x", ["a", "b"], [3.0, 2.0]),
    ]  # fmt: skip


def call(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "led_pipeline.evaluation.evaluate", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_ranking_becomes_a_run_and_its_measures(tmp_path):
    write_strings(tmp_path / "passages.parquet", [{"id": ["pa", "pb", "pc"]}], ["id"])
    write_strings(tmp_path / "queries.parquet", [{"id": ["q1", "q2", "q3"], "text": ["", "", ""]}], ["id", "text"])
    ragged = [np.array(row) for row in ([2, 0, 1], [1, 2], [])]
    scores = [np.array(row) for row in ([7.0, 7.0, 7.0], [2.0, 1.0], [])]
    ranking = Ranking(np.array([0, 1, 2]), Ragged.from_rows(ragged, np.int32), Ragged.from_rows(scores, np.float32))
    write_ranking(tmp_path / "ranking.parquet", ranking)
    (tmp_path / "qrels").write_text("q1\t0\tpa\t1\nq3\t0\tpa\t1\n")
    call("run", *(f"--{n}={tmp_path}/{n}.parquet" for n in ("ranking", "queries", "passages")), "--tag=t", "--depth=2",
         f"--out={tmp_path}/run")  # fmt: skip
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    assert [(line[0], line[2], line[3], line[5]) for line in lines] == [
        ("q1", "pc", "1", "t"), ("q1", "pa", "2", "t"), ("q2", "pb", "1", "t"), ("q2", "pc", "2", "t"),
    ]  # fmt: skip
    call("measure", f"--run={tmp_path}/run", f"--qrels={tmp_path}/qrels", "--relevant-from=1",
         f"--out={tmp_path}/eval.json", f"--per-query={tmp_path}/per_query.tsv")  # fmt: skip
    summary = json.loads((tmp_path / "eval.json").read_text())
    assert summary["measures"]["MRR@10"] == 0.25  # pa at rank 2 of q1, q3 without results; the tie keeps its order
    counts = {key: summary[key] for key in ("queries", "without_results", "without_relevant", "unjudged_dropped")}
    assert counts == {"queries": 2, "without_results": 1, "without_relevant": 0, "unjudged_dropped": 1}
    origin = summary["provenance"]
    for name in ("run", "qrels"):
        assert origin["sha256"][name] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert origin["packages"]["pytrec-eval-terrier"] == version("pytrec-eval-terrier") and "commit" in origin
    assert read_per_query(tmp_path / "per_query.tsv")["q1"]["MRR@10"] == 0.5
    call("measure", f"--run={tmp_path}/run", f"--qrels={tmp_path}/qrels", "--measures", "MAP", "P@1",
         f"--out={tmp_path}/eval.json", f"--per-query={tmp_path}/per_query.tsv")  # fmt: skip
    assert json.loads((tmp_path / "eval.json").read_text())["measures"] == {"MAP": 0.25, "P@1": 0.0}
    assert read_per_query(tmp_path / "per_query.tsv")["q1"] == {"MAP": 0.5, "P@1": 0.0}
    with pytest.raises(InputError, match=r"--measures map: expected a measure.*did you mean MAP\?"):
        measures_of(["map"])


def test_measures_are_limited_to_the_depth_of_the_ranking():
    assert set(MEASURES) - set(within(100)) == {"recall@1000", "hit@1000"}
    assert within(1000) == list(MEASURES)
