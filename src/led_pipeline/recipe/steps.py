"""Steps: which groups of a stage's settings the output of each step depends on."""

from led_pipeline.recipe import representation, settings
from led_pipeline.recipe.representation import Representation, Start
from led_pipeline.recipe.schema import Section

# The groups whose keys the output of a step depends on. Everything else may change without re-running it.
STEPS: dict[str, tuple[type[Section], ...]] = {
    "candidates": (settings.Sampling,),
    "trainset": (settings.Sampling, settings.Schedule),
    "train": (
        settings.Schedule,
        settings.Objective,
        settings.Masking,
        settings.Optimisation,
        representation.Start,
        representation.Representation,
    ),
    "running": (settings.Running,),
    "import": (Start, Representation),
    "inference": (settings.Inference,),
    "pretrain": (settings.Pretraining,),
}


MODULES = (settings.__name__, representation.__name__)  # of the groups
GROUPS = {group for groups in STEPS.values() for group in groups}


def keys_of(step: str, stage: type[Section]) -> list[str]:
    """Return the keys of a class of stages that a step's output depends on."""
    groups = [cls for cls in stage.__mro__ if cls.__module__ in MODULES and issubclass(cls, STEPS[step])]
    return [key for key in stage.model_fields if any(key in group.model_fields for group in groups)]


def steps_of(group: type[Section]) -> list[str]:
    """Return the steps that depend on the keys which a group itself declares; none for what is no group."""
    if group.__module__ not in MODULES:
        return []
    return [step for step, read in STEPS.items() if any(issubclass(group, g) or issubclass(g, group) for g in read)]
