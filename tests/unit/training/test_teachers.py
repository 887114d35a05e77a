from itertools import pairwise

import numpy as np
import pytest

from led_pipeline.data.tables import Ragged, write_arrow, write_matrix
from led_pipeline.files.errors import InputError
from led_pipeline.training.teachers import StoredVectors

RANDOM = np.random.default_rng(1)
TERMS = 50
QUERIES = RANDOM.random((6, TERMS)) * (RANDOM.random((6, TERMS)) < 0.2)
PASSAGES = RANDOM.random((20, TERMS)) * (RANDOM.random((20, TERMS)) < 0.3)
PASSAGES[7] = 0  # a text without a term
PASSAGES[:, 45:] = 0  # the highest terms occur in queries alone
QUERY_ROWS, PASSAGE_ROWS = np.array([5, 0, 0, 3]), np.array([19, 2, 7, 2, 11, 0, 12, 13])


def write(path, matrix):
    """Write vectors as float16 (.npy) or as terms and weights (.arrow)."""
    if path.suffix == ".npy":
        write_matrix(path, matrix.astype(np.float16))
    else:
        rows = [np.flatnonzero(row) for row in matrix]
        weights = [row[terms] for row, terms in zip(matrix, rows, strict=True)]
        columns = {"terms": Ragged.from_rows(rows, np.uint16), "weights": Ragged.from_rows(weights, np.float32)}
        write_arrow(path, columns, {"vocabulary": str(TERMS)})
    return path


def stored(folder, suffix, cuts=(0, 12, 20)):
    parts = [
        write(folder / f"passages.{i}.{suffix}", PASSAGES[start:stop]) for i, (start, stop) in enumerate(pairwise(cuts))
    ]
    return StoredVectors.read(write(folder / f"train.{suffix}", QUERIES), *parts)


@pytest.mark.parametrize("cuts", [(0, 20), (0, 12, 20), (0, 1, 12, 20)])
@pytest.mark.parametrize(("suffix", "tolerance"), [("npy", 1e-2), ("arrow", 1e-6)])
def test_scores_are_dot_products_of_all_queries_with_all_passages(tmp_path, suffix, tolerance, cuts):
    scores = stored(tmp_path, suffix, cuts).scores(QUERY_ROWS, PASSAGE_ROWS)
    expected = [[sum(QUERIES[q] * PASSAGES[p]) for p in PASSAGE_ROWS] for q in QUERY_ROWS]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("suffix", ["npy", "arrow"])
def test_a_batch_may_use_no_row_of_a_file(tmp_path, suffix):
    scores = stored(tmp_path, suffix).scores(np.array([1]), np.array([14, 15]))
    np.testing.assert_allclose(scores, [QUERIES[1] @ PASSAGES[14:16].T], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("queries", "passages", "sentence"),
    [([6], [0], "a teacher has 6 query vectors, but the trainset names query row 6"), ([0], [20], "has 20 passage ")],
)
def test_error_names_a_row_without_a_vector(tmp_path, queries, passages, sentence):
    with pytest.raises(InputError, match=sentence):
        stored(tmp_path, "npy").scores(np.array(queries), np.array(passages))


def test_dense_and_sparse_vectors_are_not_mixed(tmp_path):
    write(tmp_path / "train.npy", QUERIES)
    write(tmp_path / "passages.arrow", PASSAGES)
    with pytest.raises(InputError, match="cannot be multiplied"):
        StoredVectors.read(tmp_path / "train.npy", tmp_path / "passages.arrow")
