"""A lexicon stage encodes a query once for its search and the matches of all hits."""

import numpy as np

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import write_arrow
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.use.lexicon import LexiconEngine


class CountingModel:
    """Gives every query the terms 1 and 2, and counts the queries."""

    folder = "models/lex"
    encoded = 0

    @property
    def tokeniser(self):
        return self

    def words(self, ids):
        return [f"t{i}" for i in ids]

    def sparse(self, query):
        self.encoded += 1
        weight = len(query)
        return vectors([[1, 2]], [[weight, 2 * weight]])


def vectors(terms, weights):
    return SparseVectors(
        *(
            Ragged.from_rows([np.array(row) for row in rows], dtype)
            for rows, dtype in ((terms, np.uint16), (weights, np.float32))
        )
    )


def test_a_query_is_encoded_once_for_its_hits(tmp_path):
    stored = vectors([[1], [2, 3], [3]], [[1.0], [2.0, 1.0], [1.0]])
    write_arrow(tmp_path / "p.arrow", {"terms": stored.terms, "weights": stored.weights})
    model = CountingModel()
    engine = LexiconEngine(model, [tmp_path / "p.arrow"], 10, None)
    rows, scores = engine.search("ab", 10)
    assert rows.tolist() == [1, 0] and scores.tolist() == [40 * 20, 20 * 10]
    assert [engine.matches("ab", row)[0].term for row in rows] == ["t2", "t1"]
    assert engine.score("ab", 1) == 800 and model.encoded == 1
    assert engine.score("abcd", 1) == 1600 and model.encoded == 2, "another query is encoded"
