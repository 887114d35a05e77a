"""What is timed finds what the search of the pipeline finds, and the note says what it read."""

import json
import subprocess
import sys

import numpy as np
import pytest

from led_pipeline.data.tables import write_matrix
from led_pipeline.files.atomic import write_json
from led_pipeline.recipe.variants import VariantSettings
from led_pipeline.search import variants
from led_pipeline.search.quantisers import shortened
from led_pipeline.search.query_time import added, query_count, searcher, timed

HITS = 5
KINDS = {
    "whole": {},
    "short": {"dimensions": 16},
    "int8": {"precision": "int8"},
    "binary": {"precision": "binary"},
    "binary_rescored": {"precision": "binary", "rescore": 4},
    "short_int8_rescored": {"dimensions": 16, "precision": "int8", "rescore": 2},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("query_time"), np.random.default_rng(1)
    vectors = random.normal(size=(330, 48)) * np.linspace(2, 0.2, 48)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    write_matrix(folder / "passages.0.npy", vectors[:200])
    write_matrix(folder / "passages.1.npy", vectors[200:300])
    write_matrix(folder / "dev.npy", vectors[300:])
    return [folder / "passages.0.npy", folder / "passages.1.npy"], folder / "dev.npy"


@pytest.mark.parametrize("kind", KINDS)
def test_the_timed_search_finds_what_the_evaluated_one_finds(files, kind):
    settings = VariantSettings(of="led", normalize=True, **KINDS[kind])
    expected = variants.search(*files, settings, HITS, threads=1)
    queries = shortened(np.load(files[1]), settings.dimensions, True)
    search = searcher([np.load(path) for path in files[0]], settings, HITS)
    shared = 0
    for query, rows, _ in expected:
        answer = np.ravel(search(queries[query : query + 1])).tolist()
        assert len(answer) == HITS
        shared += len(set(answer) & set(rows.tolist()))
    assert shared >= 0.97 * HITS * len(queries), "all but ties and borders between two steps"


def test_each_query_is_searched_once_before_the_clock_starts():
    calls = []
    times = timed([lambda i=i: calls.append(i) for i in range(4)])
    assert calls == [0, 1, 2, 3, 0, 1, 2, 3] and len(times) == 4 and (times >= 0).all()


def test_a_system_that_waits_for_others_takes_their_times_for_the_same_queries(tmp_path):
    write_json(tmp_path / "a.json", {"ms": [1.0, 2.0, 3.0]})
    write_json(tmp_path / "b.json", {"ms": [10.0, 20.0]})
    both = [tmp_path / "a.json", tmp_path / "b.json"]
    assert query_count(both) == 2
    assert added(both, np.array([0.5, 0.25])).tolist() == [11.5, 22.25]


def test_the_command_writes_times_and_bytes(files, tmp_path):
    settings = json.dumps({"of": "led", "dimensions": 20, "precision": "binary", "rescore": 4, "normalize": True})
    command = [sys.executable, "-m", "led_pipeline.search.query_time", "--passage-vectors", *map(str, files[0])]
    command += ["--query-vectors", str(files[1]), "--settings", settings, "--hits", "5", "--count", "9"]
    done = subprocess.run([*command, "--out", str(tmp_path / "led.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    note = json.loads((tmp_path / "led.json").read_text())
    assert 0 < note["p50_ms"] <= note["p95_ms"] < 1_000
    assert note["p50_ms"] == pytest.approx(np.median(note.pop("ms")), abs=1e-3)
    rest = {key: value for key, value in note.items() if not key.endswith("_ms")}
    assert rest == {
        "passages": 300, "dimensions": 20, "bytes_per_passage": 3, "rescoring_bytes_per_passage": 40, "hits": 5,
        "queries": 9,
    }  # fmt: skip
