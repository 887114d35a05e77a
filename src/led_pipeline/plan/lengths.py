"""Lengths: whether the texts of every stage fit into the positions of the model that it starts from.

A job that builds the model checks the same (`models/limits.py`); here the config of a folder, or of a hub model that is
in the cache, is enough.
"""

from collections.abc import Iterator
from pathlib import Path

from led_pipeline.plan.finding import Finding
from led_pipeline.plan.shapes import root, shape_of
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import MaskedLm, Ranker, Started


def _tokens(stage: Started) -> dict[str, int]:
    """Return the tokens of the longest texts that a model reads, by their keys."""
    if isinstance(stage, Ranker):
        # The passage loses its [CLS].
        return {"query_length + passage_length": stage.query_length + stage.passage_length - 1}
    if isinstance(stage, MaskedLm):
        return {"passage_length": stage.passage_length}
    free = getattr(stage, "query_encoder", "model") != "model"
    return {"passage_length": stage.passage_length} | ({} if free else {"query_length": stage.query_length})


def lengths(recipe: Recipe, results: Path) -> Iterator[Finding]:
    """Yield a finding for every length that is too large for a model from elsewhere."""
    for name, stage in recipe.stages.items():
        if not isinstance(stage, Started):
            continue
        for key, count in _tokens(stage).items():
            origin = root(recipe, name, key == "query_length")
            if origin in recipe.stages:  # checked with the recipe
                continue
            most = shape_of(recipe, name, results, key == "query_length").longest_text
            if most is not None and count > most:
                fits = most + 1 if isinstance(stage, Ranker) else most
                yield Finding(
                    "fatal",
                    "lengths",
                    f"stages.{name}.{key}: {count} tokens do not fit into the {most} positions of '{origin}'; write at"
                    f" most {fits}, or name a model that reads longer texts",
                )
