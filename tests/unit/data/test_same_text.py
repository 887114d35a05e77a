"""Passages with the same text, and positives among the negatives of a batch, against plain loops."""

import numpy as np
import pytest
import tiny

from led_pipeline.data.same_text import contents, first_rows, positives_elsewhere, told_apart
from led_pipeline.data.tables import Ragged


def test_only_white_space_is_ignored_when_texts_are_compared():
    same = contents(["A title", " A\ttitle\n"], ["some  text ", "some\u00a0text"])
    assert same[0] == same[1]
    pairs = [("", "a b"), ("a", "b"), ("", "A b"), ("", "a b."), ("", "ab"), ("a b", "")]
    assert len(set(contents(*zip(*pairs, strict=True)))) == len(pairs), "a title is no part of the text"


def test_the_number_of_a_text_is_the_same_on_every_machine():
    assert contents(["t"], ["x"]) == [-5532535695614986032]  # what b2sum -l 64 prints of "t\nx", read little-endian


def test_a_copy_has_the_first_row_with_its_text(tmp_path):
    texts = ["b", "a", "b", "c", " b", "a", "d"]
    tiny.save_passages(tmp_path / "p.parquet", len(texts), texts)
    expected = [[" ".join(t.split()) for t in texts].index(" ".join(text.split())) for text in texts]
    assert first_rows(tmp_path / "p.parquet").tolist() == expected == [0, 1, 0, 3, 0, 1, 6]


def by_hand(texts: list[list[int]], positives: list[list[int]]) -> list[list[bool]]:
    """Find the positives in a batch by a loop over all queries and passages."""
    passages = [(row, place, text) for row, group in enumerate(texts) for place, text in enumerate(group)]
    return [
        [text in texts_of_query and not (row == query and place == 0) for row, place, text in passages]
        for query, texts_of_query in enumerate(positives)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_positives_elsewhere_in_a_batch_equal_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    queries, count = random.integers(1, 7), random.integers(1, 5)
    texts = random.integers(0, 12, (queries, count))
    positives = [[texts[i, 0], *random.integers(0, 20, random.integers(0, 6))] for i in range(queries)]
    mask = positives_elsewhere(texts, Ragged.from_rows([np.array(row) for row in positives], np.int32))
    assert mask.tolist() == by_hand(texts.tolist(), positives)
    assert not mask[np.arange(queries), np.arange(queries) * count].any()


def test_two_lists_differ_only_if_their_cut_texts_do(tmp_path):
    tiny.save_tokenizer(tmp_path / "tokenizer")
    texts = ["a b c", "A b  c", "a b d", "a b", "a b c e"]
    columns = {"title": [""] * len(texts), "text": texts}
    store = tiny.save_store(tmp_path / "p.arrow", tmp_path / "tokenizer", columns)
    lists = np.array([[0, 1], [0, 2], [0, 3], [0, 4]])
    assert told_apart(store, lists, 20).tolist() == [False, True, True, True]
    assert told_apart(store, lists, 5).tolist() == [False, True, True, False], "three tokens of each are read"
