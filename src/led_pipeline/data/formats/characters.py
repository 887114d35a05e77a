"""Characters: what a text shows, and how ids differ that mean the same.

`é` is one code point in one file and two in another, a zero-width space is seen by nobody, and a table of numbers makes
`7` of `007` or `7.0` of `7`; as strings they differ.
"""

import re
import unicodedata
from collections.abc import Iterable

_UNSEEN = frozenset({"Cc", "Cf"})  # Unicode's categories of control and format characters
_NUMBER = re.compile(r"0*([0-9]+)(?:\.0)?")
_SPELLED = 24  # code points of an id that a message spells out


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: it is empty or all white space, control and format characters."""
    return all(map(_hidden, text))


def _hidden(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in _UNSEEN


def spelled(text: str) -> str:
    """Return a text between quotes, followed by its code points if it has others than printable ASCII."""
    if text.isascii() and text.isprintable():
        return f"'{text}'"
    points = " ".join(f"U+{ord(character):04X}" for character in text[:_SPELLED])
    return f"{text!r} ({points}{' ...' if len(text) > _SPELLED else ''})"


def look(text: str) -> str:
    """Return what ids have in common that mean the same to people.

    That is their compatible forms in lower case, without what is not seen; of a number without zeros in front and `.0`
    behind, which spreadsheets and pandas add and drop.
    """
    if number := _NUMBER.fullmatch(text):
        return number[1]
    if text.isascii() and text.isprintable() and " " not in text:
        return text.lower()
    seen = "".join(character for character in unicodedata.normalize("NFKC", text) if not _hidden(character))
    return unicodedata.normalize("NFC", seen.casefold())


def look_alikes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return, for those names that mean the same as one of `others`, which lacks them, the first such other one."""
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(look(name), []).append(name)
    pairs: dict[str, str] = {}
    for other in others if wanted else ():
        for name in wanted.get(look(other), ()):
            pairs.setdefault(name, other)
    return pairs
