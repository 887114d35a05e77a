"""Who scores passages for a stage: its teachers, and the judges of its negatives. Imports no torch.

Teachers score what is drawn, judges all candidates before. The set of a stage's candidates is scored as a trainset is,
and has the name of its stage with an ending; names of stages have no dots.
"""

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS

CANDIDATES = ".candidates"


def teachers(recipe: Recipe, name: str, *, in_batch: bool) -> list[str]:
    """Return the systems that a stage learns from, each once.

    Args:
        in_batch: those that score all passages of a batch, from their vectors; otherwise those whose scores of the
            trainset's passages are stored. Grades are always stored.
    """
    from_vectors = [
        (system, teacher.candidates != "own" and system != QRELS)
        for teacher in recipe.model_stage(name).teachers
        for system in teacher.systems
    ]
    return list(dict.fromkeys(system for system, batch in from_vectors if batch == in_batch))


def judged(recipe: Recipe) -> list[str]:
    """Return the trained stages whose candidates are judged."""
    return [name for name in recipe.trained if recipe.model_stage(name).judge]


def judges(recipe: Recipe, name: str) -> list[str]:
    """Return the systems that judge the candidates of a trained stage, each once."""
    judge = recipe.model_stage(name).judge
    return list(dict.fromkeys(judge.systems)) if judge else []


def with_jobs(recipe: Recipe, name: str) -> list[str]:
    """Return the systems that score passages for a trained stage in jobs of their own."""
    return [*teachers(recipe, name, in_batch=False), *judges(recipe, name)]


def candidate_set(stage: str) -> str:
    """Return the name of the set of a stage's candidates."""
    return f"{stage}{CANDIDATES}"


def stage_of_set(name: str) -> str:
    """Return the stage of a trainset, or of a set of candidates."""
    return name.removesuffix(CANDIDATES)
