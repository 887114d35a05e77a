"""Check the sizes of dense vectors: of `matryoshka`, and of the shortened vectors of `variants`. Imports no torch."""

from collections.abc import Iterator

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Dense, Model, Pretrain


def dimensions(recipe: Recipe, name: str) -> int | None:
    """Return the number of dimensions of a dense stage's vectors, or None if the recipe does not tell it."""
    stage: object = recipe.stages[name]
    while isinstance(stage, Model):
        if isinstance(stage, Dense) and stage.encoder:
            return None
        if isinstance(stage, Dense) and stage.head:
            return stage.head
        stage = recipe.stages.get(stage.init)
    return stage.hidden if isinstance(stage, Pretrain) else None


def faults(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per size that is no part of the vectors."""
    for name, stage in recipe.stages.items():
        if isinstance(stage, Dense) and stage.matryoshka and stage.train:
            size = dimensions(recipe, name)
            if size is not None and stage.matryoshka[-1] >= size:
                yield (
                    f"stages.{name}.matryoshka: {stage.matryoshka[-1]} is no part of a vector with {size} dimensions;"
                    " name smaller sizes only (the full size is always included)"
                )
