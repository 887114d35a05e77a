"""Headers: lines of column names, and fields in quotes, in files that have neither.

The tab-separated files of MS MARCO have no header and quote nothing; what pandas or a spreadsheet writes may have both.
Such a line would become a passage named `pid`.
"""

import re
from collections.abc import Sequence

# Names of columns, in lower case: those of ids, and without what parts words those of what stands behind them.
_ID = re.compile(r"_?((p|q|d|u|doc|document|query|passage|corpus|topic|text)[\W_]*)?ids?|doc[\W_]*no")
_FIRST = re.compile(r"\w+[\W_]+ids?|doc(ument)?|query|passage|topic([\W_]*no)?|index|idx|positives?|negatives?|pos|neg")
_VALUE = re.compile(
    r"\w*(text|passage|query|question|title|sentence|paragraph|abstract|document|content)s?|body|doc|\w*ids?"
    r"|iter(ation)?|q?0|positives?|negatives?|pos|neg|\w*scores?|grades?|labels?|rel(evan(ce|t))?|margins?|rating"
)


def is_header(columns: Sequence[str], number: int) -> bool:
    """Tell whether the columns of line `number` are names of columns: first of ids, then of what belongs to them.

    In a later line, where files were joined, fewer names are known: a collection of words may have any as its ids.
    """
    if number > 1 and columns[0][:1].isdigit():  # at once, where there are millions
        return False
    first = columns[0].casefold().strip('"#')
    if len(columns) < 2 or not (_ID.fullmatch(first) or (number == 1 and _FIRST.fullmatch(first))):
        return False
    short = all(len(column.split()) < 3 for column in columns)  # names, not sentences that end in such a word
    others = [re.sub(r"[\W_]+", "", column.casefold()) for column in columns[1:]]
    return short and not others[-1].isdigit() and all(map(_VALUE.fullmatch, others))


def header_fault(columns: Sequence[str], what: str) -> str:
    """Return the sentence about a line that is a header; `what` is what a line of this file holds."""
    return f"the line reads {' TAB '.join(columns)!r}, names of columns, expected {what} in every line"


def is_quoted(identifier: str, text: str) -> bool:
    """Tell whether a line looks quoted as CSV: its id is in quotes, or its text is and has its own quotes doubled."""
    if identifier[:1] == '"' == identifier[-1:] and len(identifier) > 1:
        return True
    inner = text[1:-1]
    return text[:1] == '"' == text[-1:] and '""' in inner and '"' not in inner.replace('""', "")


def opens_quote(text: str) -> bool:
    """Tell whether a text begins with a quote that it does not close: a quoted field with a line break begins so."""
    return text[:1] == '"' and text.count('"') % 2 == 1
