"""Single searches of a posting file, and their times."""

import json
import sys

import numpy as np
import pytest
from random_vectors import random_sparse

from led_pipeline.data.tables import write_arrow, write_strings
from led_pipeline.files.errors import InputError
from led_pipeline.search.exact import exact_sparse
from led_pipeline.search.exact_lexicon import impact_index
from led_pipeline.search.impacts import quantise
from led_pipeline.use import query_time
from led_pipeline.use.postings import PostingIndex


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(4)
    for name, rows in (("p", 90), ("q", 12)):
        vectors = random_sparse(rng, rows)
        write_arrow(tmp_path / f"{name}.arrow", {"terms": vectors.terms, "weights": vectors.weights})
    batch = {"id": [str(row) for row in range(90)], "title": [""] * 90, "text": ["x"] * 90}
    write_strings(tmp_path / "passages.parquet", [batch], ["id", "title", "text"])
    impact_index([tmp_path / "p.arrow"], tmp_path / "passages.parquet", 100, tmp_path / "index", threads=1)
    return tmp_path


def test_single_searches_give_the_ranking_of_the_split(folder):
    rng = np.random.default_rng(4)
    passages, queries = (quantise(random_sparse(rng, rows), 100, 0, rows, folder) for rows in (90, 12))
    index = PostingIndex(folder / "index", 100)
    for query, rows, scores in exact_sparse(queries, passages, 7):
        answer = index.search_terms(queries.rows(query, query + 1), 7)
        assert (answer[0].tolist(), answer[1].tolist()) == (rows.tolist(), scores.tolist())
        assert answer[1].dtype == np.float32


def test_the_time_of_a_search_is_measured(folder, monkeypatch):
    arguments = ["--index", "index", "--query-vectors", "q.arrow", "--postings", "--quantisation", "100"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["x", "impact", *arguments, "--hits", "5", "--count", "9", "--out", "t.json"])
    query_time.main()
    times = json.loads((folder / "t.json").read_text())
    assert times["hits"] == 5 and 0 < times["p50_ms"] <= times["p95_ms"]


def test_an_index_of_lucene_is_refused_with_what_to_do(folder):
    (folder / "index" / "note.json").write_text('{"kind": "impact", "passages": 90, "quantisation": 100}')
    with pytest.raises(InputError, match=r"its kind is impact, .*; run snakemake"):
        PostingIndex(folder / "index", 100, "run snakemake").search_terms(random_sparse(np.random.default_rng(1), 1), 5)
