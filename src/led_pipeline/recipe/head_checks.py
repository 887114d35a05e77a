"""Check that the model a stage starts from has the head that the stage needs.

A dense stage writes a model without a head, so a lexicon stage or a ranker cannot start from it without a new head.
"""

from collections.abc import Iterator

from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import AnyStage, Lexicon, MaskedLm, Ranker, Started

_WITH_HEAD = "start from a masked_lm, lexicon or pretrain stage or a published masked language model"


def faults(recipe: Recipe) -> Iterator[str]:
    """Check every stage that starts from another stage."""
    for name, stage in recipe.stages.items():
        for key in ("init", "query_init") if isinstance(stage, Started) else ():
            start = recipe.stages.get(getattr(stage, key, None) or "")
            if start is not None and (fault := _lacks(stage, start.family)):
                yield f"stages.{name}.{key}: '{getattr(stage, key)}' is a {start.family} stage, whose model has {fault}"


def _lacks(stage: AnyStage, start: str) -> str:
    """Return the head that a stage needs and a model of the family `start` lacks, with advice, or the empty string."""
    if isinstance(stage, Lexicon) and start in ("dense", "ranker") and not (stage.train and stage.new_head):
        begin = ", or say new_head: true, to train a new one" if stage.train and not stage.lora else ""
        return f"no masked-LM head; {_WITH_HEAD}{begin}"
    if isinstance(stage, MaskedLm) and start in ("dense", "ranker"):
        return f"no masked-LM head; {_WITH_HEAD}"
    if isinstance(stage, Ranker) and stage.scoring == "classifier" and not stage.train and start != "ranker":
        return "no classifier; train this stage (train: true), or start from a ranker"
    return ""
