"""Pinned commits of the hub models that the shipped recipes name without @revision.

A hub model can be replaced under its name. These commits are the ones that many public projects cite in their code and
model cards; they were not checked by a download. A model without a published commit is not listed: the first fetch
takes the current one and writes its commit to the folder's hub.json, and `led plan` reports that it is not pinned. A
different commit is a different model: raise VERSIONS["hub"] when you change one.
"""

REVISIONS = {
    "BAAI/bge-large-en-v1.5": "d4aa6901d3a41ba39fb536a557fa166f842b0e09",
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "cross-encoder/ms-marco-MiniLM-L-12-v2": "7b0235231ca2674cb8ca8f022859a6eba2b1c968",
    "distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "facebook/contriever": "2bd46a25019aeea091fd42d1f0fd4801675cf699",
}
# Models of the shipped recipes for which no published commit is known.
UNPINNED = (
    "Luyu/co-condenser-marco",
    "bowdpr/bowdpr_marco",
    "intfloat/simlm-msmarco-reranker",
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill",
    "opensearch-project/opensearch-neural-sparse-encoding-v1",
)
