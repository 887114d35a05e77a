"""Priorities: how many trainings follow a job one after another. Snakemake starts the job with the most first.

So the longest chain of trainings never waits for GPUs that an evaluation has, and other jobs fill the gaps.
"""

from collections.abc import Mapping

from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe


def chains(recipe: Recipe) -> dict[str, int]:
    """Return the number of trainings in the longest chain that waits for each stage or system, without its own."""
    names = needs.ordered(recipe)
    following = dict.fromkeys(["bm25", *recipe.dataset.runs, *names], 0)
    for name in reversed(names):
        for edge in needs.edges(recipe, name):
            # What a ranker re-ranks is not for its training.
            trains = name in recipe.trainings and edge.kind != "candidates"
            if edge.source in following:
                following[edge.source] = max(following[edge.source], following[name] + trains)
    return following


def of_training(recipe: Recipe, chains: Mapping[str, int], stage: str) -> int:
    """Return the priority of a stage's training, and of the jobs that it alone waits for.

    Args:
        chains: those of the recipe.
    """
    return chains[stage] + (stage in recipe.trainings)


def of_results(recipe: Recipe, chains: Mapping[str, int], system: str, part: str | None) -> int:
    """Return the priority of a system's vectors and rankings.

    Args:
        chains: those of the recipe.
        part: the queries, None for passages; what is made for an evaluation alone has priority 0.
    """
    if part not in (None, needs.validation_part(recipe)) and needs.split_of(part) != "train":
        return 0
    return chains.get(needs.stage_of(recipe, system), 0)
