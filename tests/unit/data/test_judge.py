"""Negatives judged by a teacher: the rule against a plain loop, its edge cases, and the files that it leaves."""

import json

import numpy as np
import pytest

from led_pipeline.data import judge
from led_pipeline.data.candidates import Candidates
from led_pipeline.data.examples import Trainset
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, read_ranking, write_ranking
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.values import Judge

RANKER = {"stage": "ranker"}


def scored(rows: list[tuple[int, list[int], list[float]]], name: str = "ranker") -> Trainset:
    """Return a set of candidates with scores: (query, passages, of which the first is a positive, scores)."""
    queries, passages, scores = zip(*rows, strict=True)
    column = Ragged.from_rows([np.array(p) for p in passages], np.int32)
    values = Ragged.from_rows([np.array(s) for s in scores], np.float32)
    return Trainset(np.array(queries, dtype=np.int32), column, len(rows), scores={name: values})


def left_out(trainset: Trainset, **changes) -> dict[int, list[int]]:
    rule = Judge(**RANKER | changes)
    return {query: rows.tolist() for query, rows, _ in judge.dropped(trainset, rule) if len(rows)}


def by_a_plain_loop(trainset: Trainset, rule: Judge) -> dict[int, set[int]]:
    """Apply the published rule, one candidate after another."""
    result: dict[int, set[int]] = {}
    for query in set(trainset.query.tolist()):
        rows = [i for i, other in enumerate(trainset.query.tolist()) if other == query]
        scores = trainset.scores["ranker"]
        lowest = min(float(scores[i][0]) for i in rows)
        for i in rows:
            for passage, score in zip(trainset.passages[i][1:].tolist(), scores[i][1:].tolist(), strict=True):
                margin = rule.margin * abs(lowest) if rule.kind == "relative" else rule.margin
                if not score < lowest - margin:
                    result.setdefault(query, set()).add(passage)
    return result


@pytest.mark.parametrize("kind", ["relative", "absolute"])
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5, 3.0])
def test_the_rule_equals_a_plain_loop(kind, margin):
    rng = np.random.default_rng(int(10 * margin))
    rows = []
    for query in range(40):
        positives = rng.integers(1, 4)
        for extra in range(positives):  # negative scores, and ties on a grid of quarters
            count = rng.integers(1, 30) if extra == 0 else 0
            passages = [int(p) for p in rng.permutation(1_000)[: count + 1]]
            rows.append((query, passages, (rng.integers(-20, 21, count + 1) / 4).tolist()))
    trainset, rule = scored(rows), Judge(stage="ranker", margin=margin, kind=kind)
    actual = {query: set(passages) for query, passages in left_out(trainset, margin=margin, kind=kind).items()}
    assert actual == by_a_plain_loop(trainset, rule) != {}


def test_a_negative_score_of_the_positive_still_lowers_the_limit():
    """With s+ = -4 and 25 %, candidates must be below -5, not below -3."""
    trainset = scored([(0, [1, 2, 3, 4], [-4.0, -4.5, -5.0, -5.1])])
    assert left_out(trainset, margin=0.25) == {0: [2, 3]}


def test_a_tie_with_the_positive_is_left_out_even_without_a_margin():
    assert left_out(scored([(0, [1, 2, 3], [2.0, 2.0, 1.99])]), margin=0.0) == {0: [2]}


def test_of_several_positives_the_lowest_score_counts():
    trainset = scored([(0, [1, 5, 6], [9.0, 6.0, 4.0]), (0, [2], [5.0]), (1, [1, 5], [9.0, 8.0])])
    assert left_out(trainset, margin=0.0, kind="absolute") == {0: [5]}


def test_several_judges_are_a_weighted_sum(tmp_path):
    trainset = scored([(0, [1, 2, 3], [1.0, 0.0, 0.9])]).with_scores(
        {"lex": Ragged(np.array([1.0, 9.0, 0.0], np.float32), np.array([0, 3]))}
    )
    two = {"stage": None, "stages": ["ranker", "lex"], "margin": 0.0}
    assert left_out(trainset, **two) == {0: [2]}
    assert left_out(trainset, **two, weights=[10.0, 0.1]) == {}
    trainset.write(tmp_path / "scored.arrow")
    with pytest.raises(InputError, match=r"scored\.arrow: it has no scores of other"):
        judge.write_dropped(tmp_path / "scored.arrow", Judge(stage="other"), tmp_path / "dropped.parquet")


def test_the_manifest_counts_per_query_and_drawing_leaves_the_dropped_ones_out(tmp_path):
    rows = [(0, [1, 7, 8, 7], [5.0, 4.9, 1.0, 4.9]), (2, [3, 9], [5.0, 6.0]), (3, [4, 7], [5.0, 0.0])]
    scored(rows).write(tmp_path / "scored.arrow")
    judge.write_dropped(tmp_path / "scored.arrow", Judge(**RANKER), tmp_path / "dropped.parquet")
    note = json.loads((tmp_path / "dropped.json").read_text())
    assert (note["candidates"], note["dropped"], note["queries"]) == (4, 2, 3), "a passage of two pools counts once"
    assert (note["queries_with_dropped"], note["queries_without_others"]) == (2, 1)
    assert note["dropped_per_query"] == {"p50": 1.0, "p90": 1.0, "p99": 1.0, "p100": 1.0, "mean": pytest.approx(2 / 3)}
    dropped = read_ranking(tmp_path / "dropped.parquet")
    assert [(q, p.tolist()) for q, p, _ in dropped] == [(0, [7]), (2, [9])]

    pool = [np.array([7, 8], np.int32), np.array([9, 5], np.int32), np.array([7], np.int32)]
    values = [np.arange(len(rows), 0, -1).astype(np.float32) for rows in pool]
    columns = Ragged.from_rows(pool, np.int32), Ragged.from_rows(values, np.float32)
    write_ranking(tmp_path / "pool.parquet", Ranking(np.array([0, 2, 3], np.int32), *columns))
    for path, expected in ((None, [[7, 8], [], [9, 5], [7]]), (tmp_path / "dropped.parquet", [[8], [], [5], [7]])):
        candidates = Candidates([tmp_path / "pool.parquet"], 200, dropped=path).read(0, 4)
        assert [candidates[i].tolist() for i in range(4)] == expected
