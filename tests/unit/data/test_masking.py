"""Masked batches against plain loops, and the shares of what happens to tokens."""

import numpy as np
import pytest
from tiny import LENGTHS

from led_pipeline.data import masking
from led_pipeline.data.masking import Vocabulary
from led_pipeline.data.tokens import Batch

SPECIAL = [0, 1, 2, 3, 4]  # [PAD], [UNK], [CLS], [SEP], [MASK]


def vocabulary(size: int = 57, stop: tuple[int, ...] = ()) -> Vocabulary:
    is_stop = np.zeros(size, dtype=bool)
    is_stop[[*SPECIAL, *stop]] = True
    return Vocabulary(size, 4, SPECIAL, is_stop)


def texts(lengths: list[int], size: int = 57) -> Batch:
    """Return random texts [CLS] ... [SEP]."""
    random = np.random.default_rng(0)
    rows = [np.array([2, *random.integers(5, size, length - 2), 3]) for length in lengths]
    return Batch(np.concatenate(rows), np.array(lengths))


def masked(lengths: list[int] = LENGTHS, share: float = 0.3, seed: int = 0, **options) -> tuple[Batch, object]:
    batch = texts(lengths, **options)
    numbers = masking.draw(seed, 5, 0, len(lengths), max(lengths))
    return batch, masking.mask(batch, numbers, share, vocabulary(**options))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.95])
def test_every_passage_has_its_share_of_predicted_tokens_and_no_special_one(share):
    batch, result = masked(share=share)
    text = np.searchsorted(np.cumsum(batch.lengths), result.places_M, side="right")
    words = [length - 2 for length in LENGTHS]
    assert np.bincount(text, minlength=5).tolist() == [min(max(int(share * n + 0.5), 1), n) for n in words]
    assert (np.diff(result.places_M) > 0).all()
    assert not np.isin(result.tokens_M, SPECIAL).any()
    np.testing.assert_array_equal(result.tokens_M, batch.ids[result.places_M])


def test_other_tokens_stay():
    batch, result = masked()
    others = np.setdiff1d(np.arange(len(batch.ids)), result.places_M)
    np.testing.assert_array_equal(result.texts.ids[others], batch.ids[others])
    np.testing.assert_array_equal(result.texts.lengths, batch.lengths)


def test_of_the_predicted_tokens_four_fifths_are_masked_a_tenth_random_a_tenth_unchanged():
    _, result = masked([102] * 400, size=1_005)
    now, count = result.texts.ids[result.places_M], len(result.places_M)
    assert count == 12_000
    shares = (now == 4).mean(), (now == result.tokens_M).mean()
    deviation = 4 * (0.1 * 0.9 / count) ** 0.5  # four standard deviations of a tenth
    assert abs(shares[0] - 0.8) < 2 * deviation and abs(shares[1] - 0.1) < deviation
    random = now[(now != 4) & (now != result.tokens_M)]
    assert not np.isin(random, SPECIAL).any() and len(np.unique(random)) > 600  # of 1,000 in about 1,200 draws


def test_every_place_of_a_passage_is_predicted_equally_often():
    _, result = masked([12] * 4_000)
    counts = np.bincount(result.places_M % 12, minlength=12)
    assert counts[0] == counts[11] == 0
    assert abs(counts[1:11] - 1_200).max() < 4 * (4_000 * 0.3 * 0.7) ** 0.5


def test_a_part_of_a_batch_gets_the_numbers_that_it_has_in_the_whole():
    whole = masking.draw(7, 3, 0, 10, 20)
    assert whole.shape == (10, 3, 20) and ((whole >= 0) & (whole < 1)).all()
    np.testing.assert_array_equal(masking.draw(7, 3, 4, 5, 20), whole[4:9])
    others = [masking.draw(8, 3, 0, 10, 20), masking.draw(7, 4, 0, 10, 20), whole[::-1]]
    assert not any((other == whole).any() for other in others)


def test_a_bag_has_each_word_once_and_no_stop_word():
    batch, stop = texts([30, 5, 4], size=20), (7, 9)
    ids = batch.ids.copy()
    ids[36:38] = stop  # the third passage
    numbers = masking.draw(0, 0, 0, 3, 30)
    result = masking.mask(Batch(ids, batch.lengths), numbers, 0.3, vocabulary(20, stop))
    bags = [set(ids[first:last].tolist()) - {*SPECIAL, *stop} for first, last in ((0, 30), (30, 35), (35, 39))]
    assert not bags[2]
    pairs = [(text, word) for text, bag in enumerate(bags) for word in sorted(bag)]
    assert list(zip(result.text_K.tolist(), result.word_K.tolist(), strict=True)) == pairs
    assert len(bags[0]) > 5


def test_a_passage_of_special_tokens_alone_is_not_predicted():
    batch = Batch(np.array([2, 1, 3, 2, 9, 3]), np.array([3, 3]))
    result = masking.mask(batch, masking.draw(0, 0, 0, 2, 3), 0.3, vocabulary())
    assert result.places_M.tolist() == [4] and result.tokens_M.tolist() == [9]
