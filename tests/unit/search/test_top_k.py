"""The best k hits by packed keys: order, ties and padding."""

import numpy as np

from led_pipeline.search.top_k import NONE, best, pack, to_ranking, unpack


def test_keys_sort_by_falling_score_and_then_by_rising_row():
    scores = np.array([1.5, -2.0, 0.0, 1.5, -0.0, -3e38, 3e38, -2.5], dtype=np.float32)
    rows = np.array([9, 0, 7, 4, 1, 2, 2_147_483_647, 5])
    order = np.argsort(pack(scores, rows))
    assert rows[order].tolist() == [2_147_483_647, 4, 9, 1, 7, 0, 5, 2]  # 0.0 and -0.0 tie


def test_scores_and_rows_come_back_from_keys():
    rng = np.random.default_rng(1)
    scores = (rng.standard_normal(1_000) * 10.0 ** rng.integers(-30, 30, 1_000)).astype(np.float32)
    rows = rng.integers(0, 2**31, 1_000)
    got_scores, got_rows = unpack(pack(scores, rows))
    np.testing.assert_array_equal(got_scores, scores)
    np.testing.assert_array_equal(got_rows, rows)


def test_fewer_than_k_hits_are_all_kept():
    assert best(np.array([3, 1], dtype=np.uint64), 5).tolist() == [3, 1]
    assert sorted(best(np.array([3, 1, 2], dtype=np.uint64), 2).tolist()) == [1, 2]


def test_padding_is_not_a_hit():
    keys = np.array([[NONE, pack(np.float32([2]), np.array([6]))[0]], [NONE, NONE]])
    ranking = to_ranking(keys)
    assert [(q, p.tolist(), s.tolist()) for q, p, s in ranking] == [(0, [6], [2.0]), (1, [], [])]
