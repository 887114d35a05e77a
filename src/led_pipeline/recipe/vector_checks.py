"""Check the sizes of dense vectors under `matryoshka`, and the variants of dense stages. Imports no torch."""

from collections.abc import Iterator

from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.stages import Dense, Pretrain, Started


def dimensions(recipe: Recipe, name: str) -> int | None:
    """Return the number of dimensions of a dense stage's vectors, or None if the recipe does not tell it."""
    stage: object = recipe.stages[name]
    while isinstance(stage, Started):
        if isinstance(stage, Dense) and stage.encoder:
            return None
        if isinstance(stage, Dense) and stage.head:
            return stage.head
        stage = recipe.stages.get(stage.init)
    return stage.hidden if isinstance(stage, Pretrain) else None


def faults(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per fault."""
    yield from _matryoshka(recipe)
    dataset = recipe.dataset
    names = ("bm25", QRELS, *recipe.stages, *dataset.negatives, *dataset.scores, *dataset.runs, *recipe.fusion)
    others = {name.casefold(): name for name in names}
    for name in recipe.variants:
        if other := others.setdefault(name.casefold(), ""):
            yield f"variants.{name}: the name '{other}' is taken by another system, choose another one"
        others[name.casefold()] = name
        yield from _variant(recipe, name)


def _variant(recipe: Recipe, name: str) -> Iterator[str]:
    """Check what a variant is made of."""
    key, variant, dense = f"variants.{name}", recipe.variants[name], recipe.with_output("dense")
    if variant.of not in dense:
        reason = "is no dense stage" if variant.of in recipe.stages else f"is no stage{nearest(variant.of, dense)}"
        yield f"{key}.of: '{variant.of}' {reason}; there are {', '.join(dense) or 'no dense stages'}"
        return
    size = dimensions(recipe, variant.of)
    if variant.dimensions and size is not None and variant.dimensions >= size:
        yield f"{key}.dimensions: {variant.dimensions} is not less than the {size} dimensions of '{variant.of}'"
    if not variant.dimensions and variant.precision == "float16":
        yield f"{key}: these are the vectors of '{variant.of}'; say dimensions, or precision: int8 or binary"
    if variant.rescore and variant.precision == "float16":
        yield f"{key}.rescore: float16 vectors need no second look; leave this key out"


def _matryoshka(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per size that is no part of the vectors."""
    for name, stage in recipe.stages.items():
        if isinstance(stage, Dense) and stage.matryoshka and stage.train:
            size = dimensions(recipe, name)
            if size is not None and stage.matryoshka[-1] >= size:
                yield (
                    f"stages.{name}.matryoshka: {stage.matryoshka[-1]} is no part of a vector with {size} dimensions;"
                    " name smaller sizes only (the full size is always included)"
                )
