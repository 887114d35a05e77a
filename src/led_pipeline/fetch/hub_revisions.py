"""The commits of the models that the recipes here name, for names without @revision.

A model of the hub can be replaced under its name. These commits are the ones that many public projects write down in
their code and model cards; nothing was downloaded for it. Models whose commit was found nowhere are left out: the first
fetch takes what is there, its commit is in the folder's hub.json, and `led plan` says that it is not pinned. A commit
that changes is another model: raise VERSIONS["hub"] with it.
"""

REVISIONS = {
    "BAAI/bge-large-en-v1.5": "d4aa6901d3a41ba39fb536a557fa166f842b0e09",
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "cross-encoder/ms-marco-MiniLM-L-12-v2": "7b0235231ca2674cb8ca8f022859a6eba2b1c968",
    "distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "facebook/contriever": "2bd46a25019aeea091fd42d1f0fd4801675cf699",
}
# Named by a recipe, and written down nowhere that was found.
UNPINNED = ("Luyu/co-condenser-marco", "opensearch-project/opensearch-neural-sparse-encoding-v1")
