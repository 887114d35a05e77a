"""Which searches of a Lucene index are timed; tests with Java compare the index itself."""

import numpy as np

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import write_arrow, write_strings
from led_pipeline.use.query_time import bm25_searches, impact_searches


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
