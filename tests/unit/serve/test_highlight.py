"""Marks are where the tokenizer says that a term is, and nothing of a text becomes markup."""

import pytest
from html_elements import every, read, text
from page_run import write_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from led_pipeline.files.errors import InputError
from led_pipeline.serve.highlight import STRENGTHS, Mark, excerpt, html, marks, pieces_of


@pytest.fixture
def pieces(tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json")
    return pieces_of(tmp_path / "tokenizer.json")


def test_a_piece_inside_a_word_is_marked_alone(pieces):
    text = "Items of a Queue, smallest first."
    marked = marks(text, {"##s": 0.2, "queue": 1.0, "##est": 0.5}, pieces)
    assert [(text[mark.start : mark.stop], mark.share) for mark in marked] == [("s", 0.2), ("Queue", 1.0), ("est", 0.5)]
    assert marks("s queue", {"##s": 0.2}, pieces) == [], "a word of its own is another entry"
    assert [(m.start, m.stop) for m in marks("smallest smallest", {"small": 1.0}, pieces)] == [(0, 5), (9, 14)]


def test_offsets_are_characters_of_the_text_even_behind_letters_of_several_bytes(pieces):
    text = "ÉÉ 😀 — queue"
    assert [text[mark.start : mark.stop] for mark in marks(text, {"queue": 1.0}, pieces)] == ["queue"]


def test_pieces_with_the_blank_before_a_word_are_marked_without_it(tmp_path):
    tokenizer = Tokenizer(models.BPE({"Ġheap": 0, "heap": 1, "Ġ": 2, "[UNK]": 3}, [], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([])
    merges = ["h e", "he a", "hea p", "Ġ heap"]
    vocabulary = {entry: i for i, entry in enumerate(["h", "e", "a", "p", "Ġ", "he", "hea", "heap", "Ġheap"])}
    tokenizer.model = models.BPE(vocabulary, [tuple(merge.split()) for merge in merges])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "heap heap"
    marked = marks(text, {"heap": 1.0}, pieces_of(tmp_path / "tokenizer.json"))
    assert [(mark.start, mark.stop) for mark in marked] == [(0, 4), (5, 9)]


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json: .*train or import the stage again"):
        pieces_of(tmp_path / "tokenizer.json")


def test_html_escapes_everything_and_loses_no_character():
    whole = "a <b> & \"c\" 'd' </mark>"
    page = read(f"<p>{html(whole, [Mark(2, 5, 1.0), Mark(6, 7, 0.0)])}</p>")
    assert "".join(page.itertext()) == whole
    assert [(mark.get("class"), text(mark)) for mark in every(page, "mark")] == [("w5", "<b>"), ("w1", "&")]


def test_strengths_rise_with_the_share_and_stay_in_range():
    strengths = [Mark(0, 1, share / 100).strength for share in range(101)]
    assert strengths == sorted(strengths) and set(strengths) == set(range(1, STRENGTHS + 1))


def test_an_excerpt_is_cut_between_words_and_prefers_the_start():
    text = "word " * 100
    start, stop = excerpt(text, [], 52)
    assert (start, text[start:stop]) == (0, ("word " * 10).strip())
    assert excerpt("short", [], 52) == (0, 5)
    assert excerpt("x" * 100, [], 52) == (0, 52), "one word without a blank"


def test_an_excerpt_moves_to_where_the_marks_are():
    text = "word " * 100 + "heap queue " + "word " * 100
    places = [Mark(500, 504, 1.0), Mark(505, 510, 1.0)]
    start, stop = excerpt(text, places, 60)
    assert start > 400 and "heap queue" in text[start:stop] and text[start - 1] == " "
    assert str(html(text, places, start, stop)).startswith("… ")
    assert excerpt(text, [Mark(0, 4, 1.0), *places[:1]], 60)[0] == 0, "no better than the start"
