"""Texts as pairs of neighbouring letters, for BM25 in scripts without blanks (`bm25.language: bigrams`).

Words of other scripts in such a text stay whole. That is how Lucene treats Chinese and Korean; here it holds for Thai,
Lao, Khmer, Burmese and their like, too, for which the Java that pip installs has no dictionary of words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby, pairwise

# Thai, Lao; Burmese; Khmer; Tai Le, New Tai Lue; Tai Tham; Balinese; Javanese and more Burmese; the same and Tai Viet.
_SOUTHEAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
# From CJK radicals to Yi; Hangul; compatibility forms; the planes of rare ideographs.
_EAST = "\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = re.compile(f"[{_SOUTHEAST}{_EAST}]")
_UNCUT = re.compile(f"[{_SOUTHEAST}]")  # what Lucene's tokenizer for all languages leaves as one word


def terms(text: str, language: str) -> str:
    """Return what an engine is given of a text: its bigrams where the language says so, and otherwise the text."""
    return bigrams(text) if language == "bigrams" else text


def bigrams(text: str) -> str:
    """Return the terms of a text, lower-cased, with single spaces between them.

    A letter is one with all its marks. A run of letters without blanks is every pair of neighbours in it, a lone letter
    is itself; a word of a script with blanks is one term.
    """
    found: list[str] = []
    for word in _words(unicodedata.normalize("NFKC", text).lower()):
        for unspaced, run in groupby(word, key=lambda letter: bool(_UNSPACED.match(letter))):
            letters = list(run)
            if not unspaced:
                found.append("".join(letters))
            elif len(letters) == 1:
                found += letters
            else:
                found += (first + second for first, second in pairwise(letters))
    return " ".join(found)


def uncut_share(texts: Iterable[str]) -> float:
    """Return which share of the letters of some texts belongs to words that only a dictionary or `bigrams` can cut."""
    letters = [letter for text in texts for word in _words(text) for letter in word]
    return sum(bool(_UNCUT.match(letter)) for letter in letters) / max(1, len(letters))


def _words(text: str) -> Iterator[list[str]]:
    """Yield the words of a text as letters or digits with their marks."""
    word: list[str] = []
    for character in text:
        kind = _kind(character)
        if kind in "LN":
            word.append(character)
        elif kind == "M" and word:
            word[-1] += character
        elif word and kind != "C":  # joiners, soft hyphens and control characters are no part of a word, and no end
            yield word
            word = []
    if word:
        yield word


@cache
def _kind(character: str) -> str:
    """Return the first letter of a character's category in Unicode; a zero-width space parts words as a blank does."""
    return "Z" if character in "\u200b\t\n\r\f\v\x85" else unicodedata.category(character)[0]
