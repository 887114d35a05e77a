"""Check the teachers of a stage against the rest of the recipe; every check yields sentences that name the key."""

from collections.abc import Iterator

from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.stages import Model, Ranker
from led_pipeline.recipe.values import Teacher


def faults(recipe: Recipe, name: str, stage: Model, systems: list[str]) -> Iterator[str]:
    """Check the teachers of a stage; `systems` are the names of all systems with scores."""
    for i, teacher in enumerate(stage.teachers):
        key = f"stages.{name}.teachers[{i}]"
        yield from _names(recipe, key, teacher, systems)
        if teacher.loss == "margin_mse" and not teacher.with_positive:
            yield f"{key}.with_positive: margin_mse compares with the positive, so it cannot be left out"
        if teacher.candidates != "own" and isinstance(stage, Ranker):
            yield f"{key}.candidates: a ranker scores a query's own passages alone, so take 'own'"


def judge_faults(recipe: Recipe, name: str, stage: Model, systems: list[str]) -> Iterator[str]:
    """Check what judges the negatives of a stage; `systems` are the names of all systems with scores."""
    if (judge := stage.judge) is None:
        return
    key = f"stages.{name}.judge"
    if (judge.stage is None) == (not judge.stages):
        yield f"{key}.stage: name one system here, or several under 'stages'"
    if not stage.negatives:
        yield f"{key}: the stage has no negatives to judge; name systems under stages.{name}.negatives, or leave it out"
    if judge.weights and len(judge.weights) != len(judge.stages):
        yield f"{key}.weights: {len(judge.weights)} weights for the {len(judge.stages)} systems under 'stages'"
    for i, system in enumerate(judge.systems):
        place = f"{key}.stages[{i}]" if judge.stages else f"{key}.stage"
        if fault := _no_scores(recipe, place, system, systems, "a judge needs those of every candidate"):
            yield fault


def _names(recipe: Recipe, key: str, teacher: Teacher, systems: list[str]) -> Iterator[str]:
    """Check that the systems of a teacher exist and have the scores that it needs."""
    if (teacher.stage is None) == (not teacher.stages):
        yield f"{key}.stage: name one stage here, or several under 'stages'"
        return
    if teacher.weights and len(teacher.weights) != len(teacher.stages):
        yield f"{key}.weights: {len(teacher.weights)} weights for the {len(teacher.stages)} systems under 'stages'"
    for i, system in enumerate(teacher.systems):
        place = f"{key}.stages[{i}]" if teacher.stages else f"{key}.stage"
        if fault := _no_scores(recipe, place, system, systems, "a teacher needs those of every drawn passage"):
            yield fault
        elif teacher.candidates != "own" and system not in [*recipe.retrievers, QRELS]:
            advice = "name its systems under 'stages'" if system in recipe.fusion else "take candidates: own"
            yield f"{place}: '{system}' has no vectors to score all passages of a batch with; {advice}"


def _no_scores(recipe: Recipe, place: str, system: str, systems: list[str], need: str) -> str | None:
    """Return why a system that the key `place` names has not the scores that are needed, None if it has."""
    if system in recipe.rankless:
        return f"{place}: '{system}' gives no scores, name a stage of another family"
    if system in recipe.dataset.runs:
        return (
            f"{place}: the run '{system}' has scores of the passages that it ranks alone, and {need}; name its file"
            " under dataset.scores, and set only_scored: true"
        )
    return None if system in systems else f"{place}: no stage '{system}'{nearest(system, systems)}"
