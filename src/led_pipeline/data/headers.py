"""Headers: lines of column names, and fields in quotes, in files that have neither.

The tab-separated files of MS MARCO have no header and quote nothing; what pandas or a spreadsheet writes may have both.
Such a line would become a passage named `pid`.
"""

import re
from collections.abc import Sequence

_IDS = {
    "id", "pid", "qid", "did", "uid", "docid", "docno", "doc", "query", "queryid", "passageid", "documentid",
    "corpusid", "textid", "topic", "topicid", "topicno", "index", "idx", "positive", "positiveid", "negative",
    "negativeid", "pids", "negatives", "iter", "iteration",
}  # fmt: skip
_VALUES = {
    "text", "passage", "passages", "passagetext", "body", "content", "contents", "query", "querytext", "title",
    "titles", "question", "sentence", "paragraph", "abstract", "document", "documenttext", "doctext", "pid", "docid",
    "pids", "passageid", "corpusid", "negative", "negatives", "score", "scores", "grade", "label", "labels", "rel",
    "relevance", "relevant", "margin", "rating",
}  # fmt: skip


def is_header(columns: Sequence[str]) -> bool:
    """Tell whether the columns of a first line are names of columns: of ids, and at the end of what belongs to them."""
    names = [re.sub(r"[\W_]+", "", column.casefold()) for column in columns]
    return len(names) > 1 and names[0] in _IDS and names[-1] in _VALUES and set(names) <= _IDS | _VALUES


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
