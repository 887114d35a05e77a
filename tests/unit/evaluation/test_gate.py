"""The gate: results below published numbers stop the run, but only those that somebody published."""

import pytest

from led_pipeline.evaluation.gate import check
from led_pipeline.evaluation.published import Published, beside_ours
from led_pipeline.files.errors import InputError

SOURCE = {"s": {"title": "A paper", "url": "https://example.org"}}
MEASURES = {"MRR@10": {"ours": ["MRR@10"], "tolerance": 0.5}, "R": {"ours": ["recall@50", "hit@50"], "tolerance": 1.0}}


def row(stage, value, verified="verified", **more):
    source = "s" if verified in ("verified", "second-hand") else None
    values = {"dev": {"MRR@10": value}}
    return {
        "system": f"paper's {stage}",
        "stage": stage,
        "source": source,
        "verified": verified,
        "values": values,
    } | more


def metrics(rows, **ours):
    content = {"passages": 1, "queries": {"dev": 1}}
    published = Published.model_validate({"content": content, "measures": MEASURES, "sources": SOURCE, "systems": rows})
    measured = {name: {"measures": {"MRR@10": mrr, "recall@50": 0.8, "hit@50": 0.9}} for name, mrr in ours.items()}
    return {"published": beside_ours(published, {"dev": {"systems": measured}}, {"dev": "dev"}, 1000)}


def test_a_result_within_its_tolerance_or_above_passes():
    entries = check(metrics([row("led", 39.6), row("lex", 37.0)], led=0.3912, lex=0.45))
    assert [(entry["system"], entry["ours"], entry["passes"]) for entry in entries] == [
        ("led", 39.12, True),
        ("lex", 45.0, True),
    ]


def test_a_result_below_fails_with_measure_expected_value_and_tolerance():
    with pytest.raises(InputError) as error:
        check(metrics([row("led", 39.6), row("lex", 37.0)], led=0.3900, lex=0.37))
    text = str(error.value)
    assert "1 of 2 numbers are too low" in text
    assert "led on dev: MRR@10 is 39.0, expected 39.6 with a tolerance of 0.5 (paper's led, as in A paper)" in text
    assert "evaluation.gate" in text and "lex" not in text


def test_unverified_numbers_and_systems_trained_in_another_way_do_not_count():
    near = row("led", 60.0) | {"stage": None, "near": ["led"]}
    rows = [row("led", 39.6), row("led_rt", 99.0, "unverified"), near]
    assert len(check(metrics(rows, led=0.396, led_rt=0.1))) == 1


def test_an_expectation_of_this_project_counts_and_says_that_nobody_published_it():
    rows = [row("led", 39.6), row("led_best", 41.5, "expectation")]
    assert [entry["passes"] for entry in check(metrics(rows, led=0.396, led_best=0.411))] == [True, True]
    with pytest.raises(InputError, match=r"MRR@10 is 40\.9, expected 41\.5 .*, which nobody published"):
        check(metrics(rows, led=0.396, led_best=0.409))


def test_recall_is_held_to_the_nearer_of_its_two_meanings():
    rows = [row("led", 39.6, values={"dev": {"R": 90.5}})]
    assert check(metrics(rows, led=0.396))[0]["ours"] == 90.0


def test_a_gate_with_nothing_to_compare_is_an_error():
    for rows in ([], [row("led", 39.6)], [row("bm25", 1.0, "unverified")]):
        with pytest.raises(InputError, match=r"set evaluation\.gate to false"):
            check(metrics(rows, bm25=0.2))
