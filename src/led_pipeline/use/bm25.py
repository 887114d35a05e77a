"""BM25: search the index of the passages' texts."""

from typing import Protocol

from led_pipeline.use.records import Hits, Match


class TextIndex(Protocol):
    """An index of the passages' titles and texts."""

    def search(self, query: str, depth: int) -> Hits: ...


class Bm25Engine:
    """BM25, by Lucene or by an OpenSearch node."""

    def __init__(self, index: TextIndex):
        self._index = index

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages; none for a query without terms."""
        return self._index.search(query, depth)

    def score(self, query: str, row: int) -> None:
        return None

    def matches(self, query: str, row: int) -> list[Match]:
        return []
