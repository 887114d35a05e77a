"""Costs in the report: sizes on disk, rates and times that jobs left."""

import numpy as np
import pytest
from configs import RECIPES

from led_pipeline.data.tables import write_matrix, write_strings
from led_pipeline.files.atomic import write_json
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report.costs import costs, is_worth_showing
from led_pipeline.report.text import COSTS, cost_cells, cost_table

VARIANTS = {"led_64": {"of": "led", "dimensions": 64}, "led_bits": {"of": "led", "precision": "binary"}}


@pytest.fixture
def recipe():
    return load_recipe(RECIPES["demo.yaml"] | {"variants": VARIANTS})


def test_sizes_come_from_the_disk_and_times_from_the_notes_of_jobs(tmp_path, recipe):
    layout = Layout(tmp_path)
    assert not is_worth_showing(costs(recipe, tmp_path)), "before the run"
    write_strings(layout.passages, [{"id": [str(i) for i in range(50)]}], ["id"])
    write_matrix(layout.passage_vectors("led", 0, "npy"), np.zeros((50, 128), np.float16))
    write_json(layout.encoding_note("led", 0), {"texts": 50, "seconds": 0.25})
    write_json(layout.query_time("led_bits"), {"p50_ms": 0.25, "p95_ms": 0.5})
    index = tmp_path / "index" / "bm25" / "deep"
    index.mkdir(parents=True)
    (index / "segment").write_bytes(b"x" * 700)
    measured = costs(recipe, tmp_path)
    stages = ["den_warmup", "lex_warmup", "lex_continue", "den_continue", "den_mixed", "led"]
    assert list(measured) == ["bm25", *stages, "hybrid", *VARIANTS]
    assert measured["bm25"] == dict.fromkeys(COSTS) | {"index_bytes": 700, "bytes_per_passage": 14}
    assert measured["led"]["vector_bytes"] == pytest.approx(50 * 256, abs=200)  # and the header of the file
    assert measured["led"]["encode_per_s"] == 200
    assert measured["led_64"] == dict.fromkeys(COSTS) | {"vector_bytes": 50 * 128, "bytes_per_passage": 128}
    assert measured["led_bits"]["bytes_per_passage"] == 16 and measured["led_bits"]["p95_ms"] == 0.5
    assert measured["den_mixed"] == dict.fromkeys(COSTS)
    led = measured["led"]
    assert measured["hybrid"]["bytes_per_passage"] == 14 + led["bytes_per_passage"], "both systems are searched"
    assert measured["hybrid"]["index_bytes"] == 700 and measured["hybrid"]["vector_bytes"] == led["vector_bytes"]
    assert cost_cells(measured["led_bits"]) == ["16", "0.0", "–", "–", "0.250", "0.500"]
    assert cost_table({"costs": measured}).splitlines()[-1].split() == [
        "led_bits",
        "16",
        "0.0",
        "–",
        "–",
        "0.250",
        "0.500",
    ]


def test_sizes_outlive_the_vectors(tmp_path, recipe):
    layout = Layout(tmp_path)
    write_strings(layout.passages, [{"id": [str(i) for i in range(50)]}], ["id"])
    write_json(layout.encoding_note("led", 0), {"texts": 50, "bytes": 12_928, "dimensions": 128, "seconds": 0.25})
    measured = costs(recipe, tmp_path)
    assert measured["led"]["vector_bytes"] == 12_928
    assert measured["led_64"]["bytes_per_passage"] == 128 and measured["led_bits"]["bytes_per_passage"] == 16
    assert measured["den_mixed"]["vector_bytes"] is None
