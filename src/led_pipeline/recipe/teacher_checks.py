"""What the schema of a recipe cannot see of its teachers.

Every check yields sentences that name the key.
"""

from collections.abc import Iterator

from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Pretrain, Ranker, Trained
from led_pipeline.recipe.values import LABELS, Teacher


def faults(recipe: Recipe, name: str, stage: Trained, systems: list[str]) -> Iterator[str]:
    """Check the teachers of a stage; `systems` are those that give scores."""
    for i, teacher in enumerate(stage.teachers):
        key = f"stages.{name}.teachers[{i}]"
        yield from _names(recipe, key, teacher, systems)
        if teacher.loss == "margin_mse" and not teacher.with_positive:
            yield f"{key}.with_positive: margin_mse compares with the positive, so it cannot be left out"
        if teacher.candidates != "own" and isinstance(stage, Ranker):
            yield f"{key}.candidates: a ranker scores a query's own passages alone, so take 'own'"


def _names(recipe: Recipe, key: str, teacher: Teacher, systems: list[str]) -> Iterator[str]:
    """Check whose scores a teacher gives, and that they are there."""
    if (teacher.stage is None) == (not teacher.stages):
        yield f"{key}.stage: name one stage here, or several under 'stages'"
        return
    if teacher.weights and len(teacher.weights) != len(teacher.stages):
        yield f"{key}.weights: {len(teacher.weights)} weights for the {len(teacher.stages)} systems under 'stages'"
    for i, system in enumerate(teacher.systems):
        own = f"{key}.stages[{i}]" if teacher.stages else f"{key}.stage"
        if isinstance(recipe.stages.get(system), Pretrain):
            yield f"{own}: '{system}' gives no scores, name a stage of another family"
        elif system not in systems:
            yield f"{own}: no stage '{system}'{nearest(system, systems)}"
        elif teacher.candidates != "own" and system not in [*recipe.retrievers, LABELS]:
            yield f"{own}: '{system}' has no vectors to score all passages of a batch with; take candidates: own"
