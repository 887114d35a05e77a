"""Highlight: the places in a text where a model's terms occur, and HTML that marks them.

A term of a lexicon stage is an entry of its vocabulary, mostly a word piece. The stage's own tokenizer says which
characters of a text became which piece, so that a mark covers exactly what the model read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from tokenizers import Tokenizer

from led_pipeline.files.reading import reading

STRENGTHS = 5  # classes w1 to w5 of the style sheet
READ = 20_000  # characters of a text in which terms are looked for

Pieces = Callable[[str], list[tuple[int, int, str]]]  # text -> start and stop of each piece, and its decoded entry


@dataclass(frozen=True)
class Mark:
    """A part of a text that is a term, and how much it counts: 1 is the most that any term of the answer counts."""

    start: int
    stop: int
    share: float

    @property
    def strength(self) -> int:
        """The class of its colour."""
        return 1 + min(STRENGTHS - 1, int(self.share * STRENGTHS))


def pieces_of(tokenizer_file: Path) -> Pieces:
    """Return a function that cuts texts into the pieces of a tokenizer.

    Raises:
        InputError: the file cannot be read.
    """
    with reading(tokenizer_file, "the tokenizer of a model; train or import the stage again", also=(Exception,)):
        tokenizer: Any = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    names: dict[int, str] = {}

    def cut(text: str) -> list[tuple[int, int, str]]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        for number, token in zip(encoding.ids, encoding.tokens, strict=True):
            if number not in names:
                names[number] = tokenizer.decode([number]).strip() or token
        return [(*place, names[number]) for place, number in zip(encoding.offsets, encoding.ids, strict=True)]

    return cut


def marks(text: str, shares: Mapping[str, float], pieces: Pieces) -> list[Mark]:
    """Return the places of some terms (term -> share, 0..1) in the first READ characters of a text, in order."""
    if not shares:
        return []
    found_at = []
    end = 0
    for start, stop, piece in pieces(text[:READ]):
        start += len(text[start:stop]) - len(text[start:stop].lstrip())  # some pieces contain the blank before a word
        if piece in shares and end <= start < stop:
            found_at.append(Mark(start, stop, shares[piece]))
            end = stop
    return found_at


def excerpt(text: str, places: Sequence[Mark], length: int) -> tuple[int, int]:
    """Return start and stop of a part of about `length` characters, cut between words: where the marks count most.

    The start of the text is preferred, unless another part has more than 1.5 times as much of the marks.
    """
    if len(text) <= length:
        return 0, len(text)
    best = 0, 1.5 * _covered(places, 0, length)
    for mark in places:
        start = _word_start(text, max(0, mark.start - length // 6))
        covered = _covered(places, start, start + length)
        if covered > best[1]:
            best = start, covered
    start, stop = best[0], best[0] + length
    if stop < len(text):
        blank = text.rfind(" ", start + length // 2, stop + 1)
        stop = blank if blank > 0 else stop
    return start, min(stop, len(text))


def _covered(places: Sequence[Mark], start: int, stop: int) -> float:
    return sum(mark.share for mark in places if start <= mark.start and mark.stop <= stop)


def _word_start(text: str, place: int) -> int:
    blank = text.find(" ", place)
    return blank + 1 if place and 0 <= blank < place + 40 else place


def html(text: str, places: Sequence[Mark] = (), start: int = 0, stop: int | None = None) -> Markup:
    """Return a part of a text as HTML with its marks; everything else is escaped."""
    stop = len(text) if stop is None else stop
    parts, at = [Markup("… " if start else "")], start
    for mark in places:
        if mark.start >= at and mark.stop <= stop:
            marked = Markup('<mark class="w{}">{}</mark>').format(mark.strength, text[mark.start : mark.stop])
            parts += [escape(text[at : mark.start]), marked]
            at = mark.stop
    return Markup("").join([*parts, escape(text[at:stop]), Markup(" …" if stop < len(text) else "")])
