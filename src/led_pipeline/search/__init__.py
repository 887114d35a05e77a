"""Search: rank passages for queries with Lucene, OpenSearch, FAISS or an exact search, from texts or vectors.

The rules run the engines; other rooms import `java` and `opensearch_node` to check what is installed.
"""
