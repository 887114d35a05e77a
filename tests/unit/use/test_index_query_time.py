"""Which searches of an index, of a fusion and of a ranker are timed; tests with Java compare the index itself."""

import json
import sys

import numpy as np
import tiny

from led_pipeline.data.fusion import fuse_lists
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, read_ranking, write_arrow, write_ranking, write_strings
from led_pipeline.files.atomic import write_json
from led_pipeline.inference import score
from led_pipeline.recipe.systems import Fusion
from led_pipeline.use import rerank_time
from led_pipeline.use.query_time import bm25_searches, fusions, impact_searches
from led_pipeline.use.rerank_time import rerankings


class Recorded:
    """An index that remembers what it was asked for."""

    def __init__(self):
        self.calls = []

    def search(self, text, depth):
        self.calls.append((text, depth))

    def search_terms(self, row, depth):
        self.calls.append((row.terms[0].tolist(), row.weights[0].tolist(), depth))


def test_bm25_searches_the_texts_of_the_first_queries(tmp_path):
    write_strings(tmp_path / "q.parquet", [{"id": ["1", "2", "3"], "text": ["a", "b c", "d"]}], ["id", "text"])
    index = Recorded()
    searches = bm25_searches(index, tmp_path / "q.parquet", hits=7, count=2)
    for search in [*searches, searches[0]]:
        search()
    assert index.calls == [("a", 7), ("b c", 7), ("a", 7)]


def test_a_lexicon_stage_searches_the_impacts_of_the_first_queries(tmp_path):
    terms = Ragged.from_rows([np.array([3, 5]), np.array([4])], np.int32)
    weights = Ragged(np.array([0.5, 1.26, 2.0], dtype=np.float32), terms.offsets)
    write_arrow(tmp_path / "dev.arrow", {"terms": terms, "weights": weights}, {"vocabulary": "9"})
    index = Recorded()
    for search in impact_searches(index, tmp_path / "dev.arrow", quantisation=100, hits=7, count=9):
        search()
    assert index.calls == [([3, 5], [50, 126], 7), ([4], [200], 7)]


def test_a_node_gets_the_weights_as_they_are(tmp_path):
    terms = Ragged.from_rows([np.array([3, 5])], np.int32)
    weights = Ragged(np.array([0.5, 1.25], dtype=np.float32), terms.offsets)
    write_arrow(tmp_path / "dev.arrow", {"terms": terms, "weights": weights}, {"vocabulary": "9"})
    index = Recorded()
    impact_searches(index, tmp_path / "dev.arrow", quantisation=None, hits=7, count=9)[0]()
    assert index.calls == [([3, 5], [0.5, 1.25], 7)]


def ranking(path, lists):
    """Write a ranking of some query rows: row -> passage rows, best first, with falling scores."""
    scores = [np.arange(len(rows), 0, -1, dtype=np.float32) for rows in lists.values()]
    columns = (
        Ragged.from_rows([np.array(rows) for rows in lists.values()], np.int32),
        Ragged.from_rows(scores, np.float32),
    )
    write_ranking(path, Ranking(np.array(list(lists), dtype=np.int32), *columns))
    return path


def test_a_fusion_adds_the_lists_of_the_same_query(tmp_path):
    first = ranking(tmp_path / "first", {0: [4, 2], 1: [7], 2: [1, 3]})
    second = ranking(tmp_path / "second", {0: [2, 9], 2: [3]})  # without query 1
    fusion = Fusion(method="rrf", systems=["a", "b"])
    answers = [search()[0].tolist() for search in fusions([first, second], fusion, hits=2, count=3)]
    assert answers == [[2, 4], [7], [3, 1]]
    one = lambda *rows: (np.array(rows, np.int32), np.arange(len(rows), 0, -1).astype(np.float32))  # noqa: E731
    assert answers[0] == fuse_lists([one(4, 2), one(2, 9)], fusion, 2)[0].tolist()


def test_a_ranker_sorts_as_the_run_does_and_adds_the_time_of_its_candidates(tmp_path, monkeypatch):
    tiny.save_dataset(tmp_path)
    settings = tiny.settings("ranker")
    tiny.backbone("ranker").save_pretrained(tmp_path / "model")
    monkeypatch.setattr(score, "load", lambda _: (tiny.start(tmp_path / "model", settings), settings))
    candidates = ranking(tmp_path / "ranking", {0: [5, 1, 3, 0], 1: [2, 4], 3: [1, 0]})
    files = {"model": tmp_path / "model", "query-tokens": tmp_path / "queries.arrow", "ranking": candidates}
    files |= {"passage-tokens": tmp_path / "passages.arrow", "times": tmp_path / "other.json"}
    write_json(files["times"], {"ms": [1e6, 2e6]})
    command = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["rerank_time", *command, "--depth", "3", "--out", str(tmp_path / "times.json")])
    rerank_time.main()
    note = json.loads((tmp_path / "times.json").read_text())
    assert note["depth"] == 3 and [round(ms / 1e6) for ms in note["ms"]] == [1, 2] and note["p50_ms"] > 1.5e6
    tokens = files["query-tokens"], [files["passage-tokens"]]
    answers = [search().tolist() for search in rerankings(files["model"], tokens, candidates, 3, 4)]
    options = ["--model", files["model"], "--queries", tokens[0], "--passages", *tokens[1], "--pairs", candidates]
    options += ["--rerank", "--depth", 3, "--out", tmp_path / "reranked"]
    monkeypatch.setattr(sys, "argv", ["score", *map(str, options)])
    score.main()
    expected = dict.fromkeys(range(4), ()) | {q: tuple(rows) for q, rows, _ in read_ranking(tmp_path / "reranked")}
    assert [tuple(rows) for rows in answers] == [expected[query] for query in range(4)]
