"""Node: ask an OpenSearch node, as `search.opensearch` does for a whole split."""

from functools import cached_property
from pathlib import Path
from typing import Any

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.search import opensearch, opensearch_node
from led_pipeline.search.letters import terms
from led_pipeline.use.records import NO_HITS, Hits


class NodeIndex:
    """An index on a node, with texts or with unquantised weights.

    Args:
        folder: the folder with the note about the index.
        expected: what the note must say.
        language: `bm25.language`, for an index of texts.
    """

    def __init__(self, folder: str, expected: dict[str, str | float], language: str = "en"):
        self._folder, self._expected, self._language = Path(folder), expected, language

    @cached_property
    def _index(self) -> tuple[Any, str]:
        return opensearch.checked_index(self._folder, self._expected)

    def _answer(self, body: dict[str, Any] | None, depth: int) -> Hits:
        if body is None:
            return NO_HITS
        (hits,) = opensearch_node.search(*self._index, [body], depth, 1)
        return opensearch.ordered(hits)

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages for a query's text; see `opensearch_node` for errors."""
        return self._answer(opensearch.text_query(terms(query, self._language)), depth)

    def search_terms(self, query: SparseVectors, depth: int) -> Hits:
        """Return the best passages for the only row of `query`."""
        (tokens,) = opensearch.features(query, self._folder)
        return self._answer(opensearch.terms_query(tokens), depth)
