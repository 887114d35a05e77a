"""Ramps: weights of terms of the loss that move over a training, as those of a curriculum do."""

from collections.abc import Iterator
from typing import TypeVar

from led_pipeline.recipe.settings import Objective
from led_pipeline.training.training_data import name_of

T = TypeVar("T", bound=Objective)


def at_step(settings: T, step: int, steps: int) -> T:
    """Return the settings with the weights of one step: those of the recipe at the first, their ends at the last.

    In between they move in a line, over the first `ramp_fraction` of the steps.

    Args:
        step: steps before this one.
        steps: of the whole training.
    """
    done = min(1.0, step / (settings.ramp_fraction * max(1, steps - 1)))
    changes: dict[str, object] = {}
    if (end := settings.contrastive_weight_end) is not None:
        changes["contrastive_weight"] = between(settings.contrastive_weight, end, done)
    if any(teacher.weight_end is not None for teacher in settings.teachers):
        changes["teachers"] = [
            teacher.model_copy(update={"weight": between(teacher.weight, teacher.weight_end, done)})
            for teacher in settings.teachers
        ]
    return settings.model_copy(update=changes) if changes else settings


def between(start: float, end: float | None, done: float) -> float:
    """Return the number at a share of the way from one number to another; the first one if there is no other."""
    return start if end is None else start + (end - start) * done


def moving(settings: Objective) -> Iterator[tuple[str, float]]:
    """Yield the name in the log of each term whose weight moves, with its present weight."""
    if settings.contrastive_weight_end is not None:
        yield "contrastive", settings.contrastive_weight
    for teacher in settings.teachers:
        if teacher.weight_end is not None:
            yield name_of(teacher), teacher.weight
