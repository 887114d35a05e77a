"""Check that rankings are deep enough for the measures that a recipe names. Imports no torch.

The default measures may be beyond the depth: the report leaves those out.
"""

from collections.abc import Iterator

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.measures import MEASURES, cut_off


def faults(recipe: Recipe) -> Iterator[str]:
    """Yield one sentence per measure that cannot be computed, or is named twice."""
    evaluation, validation = recipe.evaluation, recipe.validation
    if evaluation.measures != list(MEASURES):
        for measure in evaluation.measures:
            if (cut_off(measure) or 0) > evaluation.depth:
                yield f"evaluation.measures: {measure} needs more passages than evaluation.depth ({evaluation.depth})"
    for key, measures in (
        ("evaluation.measures", evaluation.measures),
        ("validation.also", [validation.measure, *validation.also] if validation else []),
    ):
        if repeated := [name for i, name in enumerate(measures) if name in measures[:i]]:
            yield f"{key}: {repeated[0]} is measured already, name each measure once"
