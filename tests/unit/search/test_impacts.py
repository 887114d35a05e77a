"""Impacts: rounding, row borders, and the texts for Anserini."""

import json
from pathlib import Path

import numpy as np
import pytest

from led_pipeline.data.tables import Ragged
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.search.impacts import json_vectors, quantise, repeated_terms


def sparse(*rows: dict[int, float]) -> SparseVectors:
    terms = [np.array(list(row), dtype=np.uint16) for row in rows]
    weights = [np.array(list(row.values()), dtype=np.float32) for row in rows]
    return SparseVectors(Ragged.from_rows(terms, np.uint16), Ragged.from_rows(weights, np.float32))


def test_halves_round_to_even_and_zeros_are_dropped():
    impacts = quantise(sparse({3: 0.5, 5: 1.5, 8: 2.5, 9: 0.2}), 1, 0, 1, Path("v.arrow"))
    assert impacts.terms[0].tolist() == [5, 8]
    assert impacts.weights[0].tolist() == [2, 2]


def test_a_range_of_rows_keeps_their_borders():
    vectors = sparse({1: 1.0}, {2: 0.001}, {}, {3: 0.25, 4: 0.5}, {5: 1.0})
    impacts = quantise(vectors, 100, 1, 4, Path("v.arrow"))
    assert [(impacts.terms[i].tolist(), impacts.weights[i].tolist()) for i in range(len(impacts))] == [
        ([], []),
        ([], []),
        ([3, 4], [25, 50]),
    ]


@pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf])
def test_error_names_the_row_of_a_weight_that_cannot_be_indexed(weight):
    with pytest.raises(InputError, match=r"v.arrow: row 3: weight"):
        quantise(sparse({1: 1.0}, {2: 1.0}, {}, {3: 1.0, 4: weight}), 100, 2, 4, Path("v.arrow"))


def test_a_row_without_impacts_still_has_a_term():
    lines = list(json_vectors(quantise(sparse({7: 0.02, 30_521: 1.0}, {1: 0.001}), 100, 0, 2, Path("v.arrow"))))
    assert [json.loads(line) for line in lines] == [{"7": 2, "30521": 100}, {"none": 1}]


def test_a_query_repeats_each_term_as_often_as_its_impact():
    assert repeated_terms(np.array([4, 12]), np.array([3, 1])).split() == ["4", "4", "4", "12"]
    assert repeated_terms(np.array([], dtype=int), np.array([], dtype=int)) == ""
