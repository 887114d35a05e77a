"""Parts: what the queries of a split are ranked in, and how deep.

A part is a split, a shard of its queries, or a split with a depth of its own. `needs` passes these functions on.
"""

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS


def train_jobs(recipe: Recipe, system: str | None = None) -> int:
    """Return the number of jobs that rank the training queries with a system: the shards, or search.train_jobs."""
    alone = {*recipe.with_output("dense"), *(recipe.with_output("sparse") if recipe.search.lexicon_on_gpus else ())}
    return recipe.search.train_jobs or recipe.dataset.shards if system in alone else recipe.dataset.shards


def query_parts(recipe: Recipe, split: str, system: str | None = None) -> list[str]:
    """Return the parts that a system searches the queries of a split in: one per job for the training queries.

    Args:
        system: by default, one whose training queries are divided by shards.
    """
    jobs = train_jobs(recipe, system)
    return [f"train.{number}" for number in range(jobs)] if split == "train" and jobs > 1 else [split]


def validation_part(recipe: Recipe) -> str | None:
    """Return the part that trainings are validated on; its own depth keeps the evaluation's from changing a model."""
    return f"{recipe.validation.split}.top{recipe.validation.depth}" if recipe.validation else None


def parts(recipe: Recipe) -> list[str]:
    """Return all parts that a search may be asked for."""
    validated = validation_part(recipe)
    names = [None, *recipe.retrievers]
    searched = [p for split in recipe.dataset.splits for name in names for p in query_parts(recipe, split, name)]
    return [*dict.fromkeys(searched), validated] if validated else [*dict.fromkeys(searched)]


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

    Rankers rank whole splits, to their own depth; runs from elsewhere are not divided into shards, and systems that
    search the training queries in another number of jobs are divided otherwise.
    """
    divided = system not in recipe.dataset.runs and train_jobs(recipe, system) == recipe.dataset.shards
    whole = system in recipe.with_output("scores") or (shard_of(part) is not None and not divided)
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
