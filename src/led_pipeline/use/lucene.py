"""Lucene: search an index that `search.anserini` built, within this process, with the results of its command line.

Ids in the index are row numbers. Anserini's own classes analyse the query, build the Lucene query and adjust the
scores, configured as its command line does it for the same flags; ties are broken by id, that is by row.
"""

from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.search.anserini import topic
from led_pipeline.search.impacts import repeated_terms
from led_pipeline.use.jvm import detach, java
from led_pipeline.use.records import NO_HITS, Hits

MOST_CLAUSES = 10_000_000  # terms of a query; Lucene's own limit is 1,024


class LuceneIndex:
    """An index of texts or of impacts on disk.

    Args:
        language: `bm25.language`; None: an index of impacts.
        bm25: k1 and b, for an index of texts.
        again: what to do if the index is damaged.
    """

    def __init__(
        self,
        path: Path | str,
        language: str | None = None,
        bm25: tuple[float, float] | None = None,
        threads: int = 1,
        again: str = "build it again",
    ):
        self._path, self._language, self._bm25 = Path(path), language, bm25
        self._threads, self._again = threads, again
        self._lock = Lock()

    def search(self, query: str, depth: int) -> Hits:
        """Return the best passages for a query's text.

        Raises:
            InputError: the index is damaged, or Java fails.
        """
        return self._hits(topic(query, self._language or "none"), depth)

    def search_terms(self, query: SparseVectors, depth: int) -> Hits:
        """Return the best passages for the impacts in the only row of `query`; see `search` for errors."""
        rows, scores = self._hits(repeated_terms(query.terms[0], query.weights[0]), depth)
        return rows, np.rint(scores)

    def _hits(self, text: str, depth: int) -> Hits:
        if not text:
            return NO_HITS
        jpype = java(self._threads)
        try:
            with self._lock:
                return self._java_hits(text, depth)
        except jpype.JException as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{self._path}: Lucene cannot search this index ({reason}); {self._again}") from error
        finally:
            detach(jpype)

    def _java_hits(self, text: str, depth: int) -> Hits:
        searcher, analyzer, generator, sort, adjust, documents = self._opened
        query = generator.buildQuery("contents", analyzer, text)
        top = searcher.search(query, depth, sort, True)
        docs = adjust.rerank(documents.fromTopDocs(top, searcher), None)
        rows = [int(str(name)) for name in docs.docids]
        return np.array(rows, dtype=np.int32), np.array(docs.scores, dtype=np.float32)

    @cached_property
    def _opened(self) -> tuple[Any, ...]:
        kind = java(self._threads).JClass
        directory = kind("org.apache.lucene.store.FSDirectory").open(
            kind("java.nio.file.Paths").get(str(self._path.resolve()))
        )
        searchers = kind("org.apache.lucene.search.IndexSearcher")
        searchers.setMaxClauseCount(MOST_CLAUSES)
        searcher = searchers(kind("org.apache.lucene.index.DirectoryReader").open(directory))
        if self._bm25:
            searcher.setSimilarity(kind("org.apache.lucene.search.similarities.BM25Similarity")(*self._bm25))
        else:
            searcher.setSimilarity(kind("io.anserini.search.similarity.ImpactSimilarity")())
        return (
            searcher,
            self._analyzer(),
            kind("io.anserini.search.query.BagOfWordsQueryGenerator")(),
            kind("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID,
            kind("io.anserini.rerank.lib.ScoreTiesAdjusterReranker")(),
            kind("io.anserini.search.ScoredDocs"),
        )

    def _analyzer(self) -> Any:
        """Return the analyser that Anserini chooses for the flags of `search.anserini`."""
        kind = java(self._threads).JClass
        if self._language in (None, "bigrams"):
            return kind("org.apache.lucene.analysis.core.WhitespaceAnalyzer")()
        english = kind("io.anserini.analysis.DefaultEnglishAnalyzer")
        if self._language == "none":
            return english.newStemmingInstance("none", kind("org.apache.lucene.analysis.CharArraySet").EMPTY_SET)
        if self._language == "en":
            return english.newDefaultInstance()
        return kind("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(self._language)
