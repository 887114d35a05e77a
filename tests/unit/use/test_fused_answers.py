"""A fusion as a system, against sums of reciprocal ranks by hand."""

import json

import pytest
import small_run
from small_run import QUERIES

from led_pipeline.use.session import Session

FUSION = {
    "both": {"method": "rrf", "systems": ["den", "lex"]},
    "again": {"method": "weighted", "systems": ["both", "judge"], "weights": [1, 2]},
    "with_bm25": {"method": "rrf", "systems": ["den", "bm25"]},
}


@pytest.fixture(scope="module")
def fusing(results, tmp_path_factory) -> Session:
    path = tmp_path_factory.mktemp("fusion") / "recipe.json"
    path.write_text(json.dumps(small_run.config() | {"fusion": FUSION}))
    return Session.open(results, config=path)


@pytest.mark.parametrize("query", QUERIES[:6])
def test_reciprocal_ranks_are_summed_over_the_depth_of_the_evaluation(fusing, query):
    sums: dict[int, float] = {}
    for system in ("den", "lex"):
        for rank, hit in enumerate(fusing.search(query, system, 20).hits, start=1):
            sums[hit.row] = sums.get(hit.row, 0) + 1 / (60 + rank)
    expected = sorted(sums, key=lambda row: (-round(sums[row], 9), row))[:10]
    hits = fusing.search(query, "both", 10).hits
    assert [hit.row for hit in hits] == expected
    assert [hit.score for hit in hits] == pytest.approx([sums[row] for row in expected])


def test_fusions_are_fused_and_one_without_all_of_its_systems_says_so(fusing):
    assert fusing.search(QUERIES[0], "again").hits
    assert fusing.search(" ", "again").hits == []
    assert fusing.default == "judge", "the last stage, not a fusion"
    assert fusing.unavailable["with_bm25"].startswith(
        "with_bm25: it fuses den, bm25, and one of them cannot answer: its"
    )
