"""Check that whatever needs judgements names a split that has them; every check yields sentences that name the key.

A split has none where the recipe says `qrels: none`. Imports no torch.
"""

from collections.abc import Iterator

from led_pipeline.recipe.dataset import NO_QRELS
from led_pipeline.recipe.graph import Recipe


def faults(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per key that asks for judgements which the recipe says do not exist."""
    dataset, evaluation = recipe.dataset, recipe.evaluation
    unjudged = set(dataset.splits) - set(dataset.judged(dataset.splits))
    if "train" in unjudged and recipe.trained:
        yield (
            f"{_key(recipe, 'train')}: '{NO_QRELS}', but stages learn from this split ({', '.join(recipe.trained)});"
            " name the file with its judgements"
        )
    validation = recipe.validation
    if validation and validation.split in unjudged and any(map(recipe.validates, recipe.stages)):
        yield (
            f"validation.split: '{validation.split}' has no judgements ({_key(recipe, validation.split)}: {NO_QRELS})"
            " to measure a model with; name another split, or set validation: null"
        )
    if evaluation.splits and unjudged.issuperset(evaluation.splits):
        none = f"no split of evaluation.splits has judgements ({', '.join(evaluation.splits)})"
        if evaluation.compare:
            yield f"evaluation.compare: {none} to compare systems with; remove this key, or add a judged split"
        if evaluation.side_by_side and evaluation.examples:
            yield f"evaluation.side_by_side: {none} to choose examples by; remove this key, or add a judged split"


def _key(recipe: Recipe, split: str) -> str:
    """Return the key that says where the judgements of a split are; a sample has those of its source.

    Of a union it is the key of its first split without judgements.
    """
    parts = recipe.dataset.read_for(split)
    split = next((part for part in parts if not recipe.dataset.qrels_of(part)), split)
    return f"dataset.splits.{recipe.dataset.splits[split].sample_of or split}.qrels"
