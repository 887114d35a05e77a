"""Headers: lines of column names, and fields in quotes, in files that have neither.

The tab-separated files of MS MARCO have no header and quote nothing; what pandas or a spreadsheet writes may have both.
Such a line would become a passage named `pid`.
"""

import re
from collections.abc import Sequence

# Names of columns, in lower case and without what parts words: those that hold ids, and what stands behind them.
_ID = re.compile(r"\w*ids?|doc(no|ument)?|query|passage|topic(no)?|index|idx|positives?|negatives?|pos|neg")
_VALUE = re.compile(
    r"\w*(text|passage|query|question|title|sentence|paragraph|abstract|document|content)s?|body|doc|\w*ids?"
    r"|iter(ation)?|q?0|positives?|negatives?|pos|neg|\w*scores?|grades?|labels?|rel(evan(ce|t))?|margins?|rating"
)


def is_header(columns: Sequence[str]) -> bool:
    """Tell whether the columns of a first line are names of columns: first of ids, then of what belongs to them."""
    first, *others = (re.sub(r"[\W_]+", "", column.casefold()) for column in columns)
    short = all(len(column.split()) < 3 for column in columns)  # names, not sentences that end in such a word
    named = others and not others[-1].isdigit() and all(map(_VALUE.fullmatch, others))
    return bool(short and named and _ID.fullmatch(first))


def header_fault(columns: Sequence[str], what: str) -> str:
    """Return the sentence about a first line that is a header; `what` is what a line of this file holds."""
    return f"the line reads {' TAB '.join(columns)!r}, names of columns, expected {what} from line 1 on"


def is_quoted(identifier: str, text: str) -> bool:
    """Tell whether a line looks quoted as CSV: its id is in quotes, or its text is and has its own quotes doubled."""
    if identifier[:1] == '"' == identifier[-1:] and len(identifier) > 1:
        return True
    inner = text[1:-1]
    return text[:1] == '"' == text[-1:] and '""' in inner and '"' not in inner.replace('""', "")


def opens_quote(text: str) -> bool:
    """Tell whether a text begins with a quote that it does not close: a quoted field with a line break begins so."""
    return text[:1] == '"' and text.count('"') % 2 == 1
