"""Search: BM25, exact, FAISS and OpenSearch, each from vectors or texts to a ranking.

The rules run each engine; others import `java` and `opensearch_node` to check what is installed.
"""
