"""Comparisons of systems: tests, intervals, moved queries, and runs that do not compare."""

import json

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.data.formats.judgements import load_qrels, read_run, write_qrels
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.comparison_page import Request, compare_runs, comparison_text
from led_pipeline.inspection.moved import largest


def reciprocal_ranks(run, system):
    """Compute MRR@10 and the rank of the relevant passage from the TREC run, by hand."""
    qrels = load_qrels(run.layout.qrels("dev"))
    ranks = {}
    for qid, pids, _ in read_run(run.layout.run(system, "dev")):
        (relevant,) = qrels[qid]
        ranks[qid] = pids.index(relevant) + 1 if relevant in pids else None
    return {qid: 1 / rank if rank and rank <= 10 else 0.0 for qid, rank in ranks.items()}, ranks


def test_systems_of_one_run_are_compared_as_by_hand(run):
    result = compare_runs([run], Request(["led", "lex", "bm25"], measures=["MRR@10"]))
    assert [(t["first"], t["second"]) for t in result["tests"]] == [("led", "lex"), ("led", "bm25"), ("lex", "bm25")]
    for test in result["tests"]:
        (a, _), (b, _) = (reciprocal_ranks(run, test[side]) for side in ("first", "second"))
        difference = np.array([a[qid] - b[qid] for qid in a])
        assert test["mean_first"] == pytest.approx(np.mean(list(a.values())))
        assert test["difference"] == pytest.approx(difference.mean())
        assert (test["better"], test["worse"]) == ((difference > 0).sum(), (difference < 0).sum())
        options = {"method": "percentile", "n_resamples": 10_000, "rng": 9}
        expected = stats.bootstrap((difference,), np.mean, **options).confidence_interval
        np.testing.assert_allclose(test["interval"], expected, atol=0.08 * (expected.high - expected.low))
        signs = stats.permutation_test((difference,), np.mean, permutation_type="samples", n_resamples=20_000, rng=4)
        assert test["p"] == pytest.approx(signs.pvalue, abs=0.02)
    assert [test["p_holm"] >= test["p"] for test in result["tests"]] == [True] * 3


def test_the_queries_that_moved_have_their_texts_and_ranks(run):
    result = compare_runs([run], Request(["led", "bm25"], measures=["MRR@10"], queries=4))
    (entry,) = result["moved"]
    (a, ranks_a), (b, ranks_b) = (reciprocal_ranks(run, name) for name in ("led", "bm25"))
    assert entry["up"] and entry["down"]
    for query in entry["up"] + entry["down"]:
        assert query["text"] == f"question {query['qid']}"
        assert (query["ranks_first"], query["ranks_second"]) == ([ranks_a[query["qid"]]], [ranks_b[query["qid"]]])
        assert (query["first"], query["second"]) == pytest.approx((a[query["qid"]], b[query["qid"]]))
    gains = sorted((a[qid] - b[qid] for qid in a), reverse=True)
    expected = [gain for gain in gains if gain > 0][:4]
    assert [query["first"] - query["second"] for query in entry["up"]] == pytest.approx(expected)


def test_the_largest_differences_keep_the_order_of_the_queries_where_they_are_equal():
    a, b = {"x": 1.0, "y": 1.0, "z": 0.0, "w": 0.5}, {"x": 0.5, "y": 0.5, "z": 0.25, "w": 0.5}
    assert largest(a, b, 5) == (["x", "y"], ["z"])
    assert largest(a, b, 1) == (["x"], ["z"])


def test_the_default_pairs_are_those_of_the_recipe_and_the_default_measures_end_at_its_depth(run):
    result = compare_runs([run], Request())
    assert {(t["first"], t["second"]) for t in result["tests"]} == {("led", "bm25")}
    # Rankings of 30 passages allow no recall@50.
    assert result["measures"] == ["MRR@10", "nDCG@10"]
    with pytest.raises(InputError, match="recall@50: not computed, since rankings end at 30"):
        compare_runs([run], Request(measures=["recall@50"]))


def test_two_runs_are_compared_system_by_system(run, make_run):
    other = make_run(1, "other")
    result = compare_runs([run, other], Request(measures=["MRR@10"]))
    labels = [(test["first"], test["second"]) for test in result["tests"]]
    assert labels == [(f"{name} (small)", f"{name} (other)") for name in ("bm25", "lex", "led")]
    values = [np.mean(list(reciprocal_ranks(each, "led")[0].values())) for each in (run, other)]
    assert result["tests"][2]["difference"] == pytest.approx(values[0] - values[1])
    only = compare_runs([run, other], Request(["led"], measures=["MRR@10"]))
    assert [test["first"] for test in only["tests"]] == ["led (small)"]


def test_several_seeds_are_averaged_query_by_query(run, make_run):
    runs = [run, make_run(1, "seed1"), make_run(2, "seed2")]
    result = compare_runs(runs, Request(["led", "bm25"], measures=["MRR@10"]))
    tables = {name: [reciprocal_ranks(each, name) for each in runs] for name in ("led", "bm25")}
    values = {name: {q: np.mean([t[0][q] for t in ts]) for q in ts[0][0]} for name, ts in tables.items()}
    differences = np.array([values["led"][qid] - values["bm25"][qid] for qid in values["led"]])
    (test,) = result["tests"]
    assert test["difference"] == pytest.approx(differences.mean())
    assert test["better"] + test["worse"] + test["equal"] == 20 and test["better"] == (differences > 1e-12).sum()
    query = result["moved"][0]["up"][0]
    assert query["ranks_first"] == [ranks[query["qid"]] for _, ranks in tables["led"]]
    text = comparison_text(result)
    spread = np.std([np.mean(list(table[0].values())) for table in tables["led"]], ddof=1)
    assert "means of 3 runs" in text and f"{spread:.4f}" in text


def test_runs_with_other_judgements_are_refused_unless_forced(run, make_run):
    other = make_run(0, "other")
    qrels = load_qrels(other.layout.qrels("dev"))
    lines = [(qid, pid, grade) for qid, grades in qrels.items() for pid, grade in grades.items()]
    write_qrels(other.layout.qrels("dev"), [*lines[1:-1], ("dev19", "p3", 1)])
    with pytest.raises(InputError, match=r"1 only in \S+small \(dev0\), 1 with other judgements\n.*--force"):
        compare_runs([run, other], Request())
    table = other.layout.measures_per_query("led", "dev")
    with open(table) as file:  # noqa: PTH123
        rows = file.read().splitlines()
    with open(table, "w") as file:  # noqa: PTH123
        file.write("\n".join(row for row in rows if not row.startswith("dev0\t")) + "\n")
    result = compare_runs([run, other], Request(["led"], force=True))
    assert result["queries"] == 19 and "1 queries that only some of them have are left out" in result["notes"]


def test_runs_with_other_collections_are_refused(run, make_run):
    other = make_run(0, "other")
    note = read_json(other.layout.prepared_note("passages"))
    note["inputs"][0]["sha256"] = "1" * 64
    write_json(other.layout.prepared_note("passages"), note)
    with pytest.raises(InputError, match="different collections"):
        compare_runs([run, other], Request())


def led(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_json_and_text(run):
    answer = led("compare", run.folder, "led", "bm25", "--json")
    assert answer.exit_code == 0 and json.loads(answer.output)["queries"] == 20
    text = led("compare", run.folder, "led", "bm25", "--queries", "1").output
    assert "led − bm25" in text and "question dev" in text and "corrected for these 2 tests" in text


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["{run}", "led", "lexx"], "no system 'lexx' (did you mean lex?); there are bm25, lex, led"),
        (["{run}", "led"], "only 'led' to compare"),
        (["{run}/nothing", "led"], "nothing: no such folder, expected the results of a run"),
        (["led", "lex"], "'led': expected a results folder first"),
        (["{run}", "led", "lex", "--split", "test"], "no evaluated split 'test'"),
        (["{run}", "led", "lex", "--measure", "MRR@1"], "--measure MRR@1: not computed (did you mean MRR@10?)"),
    ],
)
def test_mistakes_are_named(run, arguments, fault):
    answer = led("compare", *(argument.format(run=run.folder) for argument in arguments))
    assert isinstance(answer.exception, InputError) and fault in str(answer.exception)
