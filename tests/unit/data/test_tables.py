import numpy as np
import pytest

from led_pipeline.data.ragged import Ragged, places
from led_pipeline.data.tables import write_matrix


def test_places_count_up_from_every_start():
    assert places(np.array([10, 5, 7, 0]), np.array([2, 0, 3, 1])).tolist() == [10, 11, 7, 8, 9, 0]
    assert places(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).tolist() == []


def test_ragged_rows_are_taken_in_the_given_order():
    rows = [np.array([1, 2]), np.array([], dtype=np.int64), np.array([3]), np.array([4, 5, 6])]
    rows_taken = Ragged.from_rows(rows, np.int32).take(np.array([3, 1, 0, 3]))
    assert [rows_taken[i].tolist() for i in range(4)] == [[4, 5, 6], [], [1, 2], [4, 5, 6]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(0, 3), (5, 3), (7,), (70_000, 2)])
def test_a_matrix_comes_back_as_it_was_written(tmp_path, dtype, shape):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    write_matrix(tmp_path / "a.npy", matrix)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r" if len(matrix) else None), matrix)
    assert np.load(tmp_path / "a.npy").dtype == dtype


def test_matrices_are_written_one_below_the_other(tmp_path):
    parts = [np.ones((2, 3), np.float16), np.empty((0, 3), np.float16), np.zeros((3, 6), np.float16)[:, ::2]]
    write_matrix(tmp_path / "a.npy", parts)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.concatenate(parts))
