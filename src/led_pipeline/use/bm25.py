"""BM25: search the index of the passages' texts."""

from led_pipeline.search.anserini import topic
from led_pipeline.use.lucene import LuceneIndex
from led_pipeline.use.records import NO_HITS, Hits, Match


class Bm25Engine:
    """BM25 with a Lucene index."""

    def __init__(self, index: LuceneIndex, language: str):
        self._index, self._language = index, language

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages; none for a query without terms."""
        text = topic(query, self._language)
        return self._index.search(text, depth) if text else NO_HITS

    def score(self, query: str, row: int) -> None:
        return None

    def matches(self, query: str, row: int) -> list[Match]:
        return []
