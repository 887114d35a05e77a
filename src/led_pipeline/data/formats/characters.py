"""Recognise blank texts, and ids that look alike although they differ as strings.

`é` is one code point in one file and two in another, a zero-width space is invisible, and spreadsheets turn `007` into
`7` or `7` into `7.0`.
"""

import re
import unicodedata
from collections.abc import Iterable

_INVISIBLE = frozenset({"Cc", "Cf"})  # Unicode's categories of control and format characters
_NUMBER = re.compile(r"0*([0-9]+)(?:\.0)?")
_SPELLED = 24  # code points of an id that a message spells out


def is_blank(text: str) -> bool:
    """Tell whether a text is empty or consists of white space, control and format characters."""
    return all(map(_hidden, text))


def _hidden(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in _INVISIBLE


def spelled(text: str) -> str:
    """Return a text in quotes, followed by its code points unless all of them are printable ASCII."""
    if text.isascii() and text.isprintable():
        return f"'{text}'"
    points = " ".join(f"U+{ord(character):04X}" for character in text[:_SPELLED])
    return f"{text!r} ({points}{' ...' if len(text) > _SPELLED else ''})"


def look(text: str) -> str:
    """Return a normalised form, equal for ids that mean the same to people.

    It is the compatibility form in lower case without invisible characters; a number loses leading zeros and a final
    `.0`, which spreadsheets and pandas add and drop.
    """
    if number := _NUMBER.fullmatch(text):
        return number[1]
    if text.isascii() and text.isprintable() and " " not in text:
        return text.lower()
    visible = "".join(character for character in unicodedata.normalize("NFKC", text) if not _hidden(character))
    return unicodedata.normalize("NFC", visible.casefold())


def look_alikes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return, for each name that looks like one of `others` (which lack the name itself), the first such other."""
    by_look: dict[str, list[str]] = {}
    for name in names:
        by_look.setdefault(look(name), []).append(name)
    pairs: dict[str, str] = {}
    for other in others if by_look else ():
        for name in by_look.get(look(other), ()):
            pairs.setdefault(name, other)
    return pairs
