"""Parts: what the queries of a split are ranked in, and how deep.

A part is a split, a shard of its queries, or a split with a depth of its own. `needs` passes these functions on.
"""

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS


def query_parts(recipe: Recipe, split: str) -> list[str]:
    """Return the parts that the queries of a split are searched in: one per shard for the training queries."""
    shards = recipe.dataset.shards
    return [f"train.{shard}" for shard in range(shards)] if split == "train" and shards > 1 else [split]


def validation_part(recipe: Recipe) -> str | None:
    """Return the part that trainings are validated on; its own depth keeps the evaluation's from changing a model."""
    return f"{recipe.validation.split}.top{recipe.validation.depth}" if recipe.validation else None


def parts(recipe: Recipe) -> list[str]:
    """Return all parts that a search may be asked for."""
    validated = validation_part(recipe)
    searched = [part for split in recipe.dataset.splits for part in query_parts(recipe, split)]
    return [*searched, validated] if validated else searched


def whole_parts(recipe: Recipe) -> list[str]:
    """Return the parts that a run from elsewhere may be asked for: splits, and what trainings are validated on."""
    validated = validation_part(recipe)
    return [*recipe.dataset.splits, validated] if validated else [*recipe.dataset.splits]


def split_of(part: str) -> str:
    return part.partition(".")[0]


def shard_of(part: str) -> str | None:
    """Return the shard that a part is, or None where it has all queries of its split."""
    shard = part.partition(".")[2]
    return shard if shard.isdigit() else None


def part_of(recipe: Recipe, system: str, part: str) -> str:
    """Return the part of a system's ranking that has the queries of a part.

    Rankers rank whole splits, to their own depth; runs from elsewhere are not divided into shards.
    """
    whole = system in recipe.with_output("scores") or (system in recipe.dataset.runs and shard_of(part) is not None)
    return split_of(part) if whole else part


def depth_of(recipe: Recipe, part: str) -> int:
    """Return how many passages of each query are ranked: what mining needs, the validation, or the evaluation."""
    if recipe.validation and part == validation_part(recipe):
        return recipe.validation.depth
    return recipe.mining.hits if split_of(part) == "train" else recipe.evaluation.depth


def validation_ranking(recipe: Recipe, name: str) -> tuple[str, str] | None:
    """Return the system and part that a stage's training re-ranks; None without one, and for judged passages."""
    validated = validation_part(recipe)
    if not (recipe.validation and validated and recipe.validates(name)) or recipe.validation.system == QRELS:
        return None
    return recipe.validation.system, part_of(recipe, recipe.validation.system, validated)
