"""Check that the search engine of a recipe can do what the recipe asks for. Imports no torch."""

from collections.abc import Iterator

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.languages import NODE_ANALYZERS

NODE_HITS = 10_000  # OpenSearch returns no more per query unless its index says otherwise


def depths(recipe: Recipe) -> dict[str, int]:
    """Return the numbers of passages per query that searches rank, by the key that asks for them."""
    depths = {"mining.hits": recipe.mining.hits, "evaluation.depth": recipe.evaluation.depth}
    if recipe.validation and any(map(recipe.validates_by_search, recipe.stages)):
        depths["validation.depth"] = recipe.validation.depth
    return depths


def faults(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per key that the engine cannot follow."""
    language = recipe.bm25.language
    if recipe.search.backend == "opensearch":
        if language not in NODE_ANALYZERS:
            yield (
                f"bm25.language: OpenSearch has no analyser for {language} without a plugin; there are"
                f" {', '.join(NODE_ANALYZERS)} (none: words, bigrams: pairs of letters)"
            )
        for key, count in depths(recipe).items():
            if count > NODE_HITS:
                yield f"{key}: {count} is more than OpenSearch returns for a query ({NODE_HITS}); ask for fewer"
    if recipe.search.lexicon_on_gpus and not recipe.resources.search.gpu:
        yield (
            "search.lexicon: exact_gpu searches on the GPUs of resources.search.gpu, which is 0; ask for GPUs there, or"
            " write exact, which searches on the processor"
        )
