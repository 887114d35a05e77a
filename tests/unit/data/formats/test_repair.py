"""Which texts a repair changes: those whose UTF-8 was read as a single-byte encoding, and no others."""

import pytest

from led_pipeline.data.formats.repair import repaired

RIGHT = "The café’s naïve owner paid 5 € – “so” he said… Zürich Ångström voilà Málaga 20°C ½ 日本語 µm ™"


def twice(text: str, read_as: str) -> str:
    return text.encode().decode(read_as, errors="replace")


def test_text_read_as_latin_1_is_repaired():
    assert repaired(twice(RIGHT, "latin-1")) == RIGHT


@pytest.mark.parametrize("text", ["café", "It’s", "5 €", "naïve – really…", "Zürich", "20°C", "½ cup", "5 µm"])
def test_text_read_as_windows_1252_is_repaired(text):
    assert repaired(twice(text, "cp1252")) == text


def test_correct_characters_beside_wrong_ones_stay():
    assert repaired(f"Zürich, {twice('café’s', 'latin-1')} and José") == "Zürich, café’s and José"


@pytest.mark.parametrize("text", [RIGHT, "plain", "&amp; &lt;b&gt;", "ﬁne “quotes”", "e\u0301", "Ｗｉｄｅ", "Weiß & Ø"])
def test_text_that_was_encoded_once_stays(text):
    assert repaired(text) == text


@pytest.mark.parametrize("text", ["x â€\ufffd y", twice("\u00a0", "latin-1")])
def test_text_that_lost_a_byte_or_would_become_blank_stays(text):
    assert repaired(text) == text
