"""Recognise header lines and quoted fields in tab-separated files that should have neither.

The tab-separated files of MS MARCO have no header and no quoting; files written by pandas or a spreadsheet may have
both. A header line would become a passage with the id `pid`.
"""

import re
from collections.abc import Sequence

# Column names in lower case: those of ids, and those of the columns after them without separators between words.
_ID = re.compile(r"_?((p|q|d|u|doc|document|query|passage|corpus|topic|text)[\W_]*)?ids?|doc[\W_]*no")
_FIRST = re.compile(r"\w+[\W_]+ids?|doc(ument)?|query|passage|topic([\W_]*no)?|index|idx|positives?|negatives?|pos|neg")
_VALUE = re.compile(
    r"\w*(text|passage|query|question|title|sentence|paragraph|abstract|document|content)s?|body|doc|\w*ids?"
    r"|iter(ation)?|q?0|positives?|negatives?|pos|neg|\w*scores?|grades?|labels?|rel(evan(ce|t))?|margins?|rating"
)
_WORD = re.compile(r"[^\W\d][\w.-]*")  # after a name of ids in line 1, any words are names


def is_header(columns: Sequence[str], number: int) -> bool:
    """Tell whether the fields of line `number` are column names: first one of ids, then those of values.

    After line 1 (of concatenated files) fewer names count: any word may be an id in a collection of words.
    """
    if number > 1 and columns[0][:1].isdigit():  # the fast path for millions of lines
        return False
    first = columns[0].casefold().strip('"#')
    if len(columns) < 2 or not (_ID.fullmatch(first) or (number == 1 and _FIRST.fullmatch(first))):
        return False
    if number == 1 and _ID.fullmatch(first) and all(map(_WORD.fullmatch, columns[1:])):
        return True
    short = all(len(column.split()) < 3 for column in columns)  # names, not sentences that end in such words
    others = [re.sub(r"[\W_]+", "", column.casefold()) for column in columns[1:]]
    return short and not others[-1].isdigit() and all(map(_VALUE.fullmatch, others))


def header_fault(columns: Sequence[str], content: str) -> str:
    """Return the sentence about a line that is a header; `content` is what a line of this file should hold."""
    return f"the line reads {' TAB '.join(columns)!r}, names of columns, expected {content} in every line"


def is_quoted(identifier: str, text: str) -> bool:
    """Tell whether a line looks quoted as CSV: its id is in quotes, or its text is and has doubled quotes inside."""
    if identifier[:1] == '"' == identifier[-1:] and len(identifier) > 1:
        return True
    inner = text[1:-1]
    return text[:1] == '"' == text[-1:] and '""' in inner and '"' not in inner.replace('""', "")


def opens_quote(text: str) -> bool:
    """Tell whether a text begins with a quote that it does not close, as a quoted field with a line break does."""
    return text[:1] == '"' and text.count('"') % 2 == 1
