"""Split texts into letter bigrams, for BM25 in scripts without spaces (`bm25.language: bigrams`).

Words of other scripts in such a text stay whole. Lucene treats Chinese and Korean that way; this module also covers
Thai, Lao, Khmer, Burmese and similar scripts, for which the Java that pip installs has no dictionary.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby, pairwise

# Thai, Lao; Burmese; Khmer; Tai Le, New Tai Lue; Tai Tham; Balinese; Javanese, Burmese extensions; the same, Tai Viet.
_SOUTHEAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
# From CJK radicals to Yi; Hangul; compatibility forms; the planes of rare ideographs.
_EAST = "\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = re.compile(f"[{_SOUTHEAST}{_EAST}]")
_UNCUT = re.compile(f"[{_SOUTHEAST}]")  # letters of scripts that Lucene's standard tokenizer does not split into words


def terms(text: str, language: str) -> str:
    """Return the text to index: its bigrams for the language `bigrams`, otherwise the text itself."""
    return bigrams(text) if language == "bigrams" else text


def bigrams(text: str) -> str:
    """Return the terms of a text, lower-cased, with single spaces between them.

    A letter includes its combining marks. A run of letters of a script without spaces gives every pair of neighbours,
    a single such letter gives itself, and a word of another script gives one term.
    """
    result: list[str] = []
    for word in _words(unicodedata.normalize("NFKC", text).lower()):
        for unspaced, run in groupby(word, key=lambda letter: bool(_UNSPACED.match(letter))):
            letters = list(run)
            if not unspaced:
                result.append("".join(letters))
            elif len(letters) == 1:
                result += letters
            else:
                result += (first + second for first, second in pairwise(letters))
    return " ".join(result)


def uncut_share(texts: Iterable[str]) -> float:
    """Return the share of letters in scripts that only a dictionary or `bigrams` can split into words."""
    letters = [letter for text in texts for word in _words(text) for letter in word]
    return sum(bool(_UNCUT.match(letter)) for letter in letters) / max(1, len(letters))


def _words(text: str) -> Iterator[list[str]]:
    """Yield the words of a text as lists of letters or digits with their marks."""
    word: list[str] = []
    for character in text:
        kind = _kind(character)
        if kind in "LN":
            word.append(character)
        elif kind == "M" and word:
            word[-1] += character
        elif word and kind != "C":  # joiners, soft hyphens and control characters are dropped and do not end a word
            yield word
            word = []
    if word:
        yield word


@cache
def _kind(character: str) -> str:
    """Return the first letter of a character's Unicode category; a zero-width space separates words like a space."""
    return "Z" if character in "\u200b\t\n\r\f\v\x85" else unicodedata.category(character)[0]
