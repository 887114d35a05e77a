"""Check stages of the family masked_lm; every check yields sentences that name the key. Imports no torch."""

from collections.abc import Iterator

from led_pipeline.recipe import schedule_checks
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import MaskedLm, Pretrain, Started


def faults(recipe: Recipe, name: str) -> Iterator[str]:
    """Check a stage's length, and that all of its weights are trained."""
    key, stage = f"stages.{name}", recipe.stages[name]
    assert isinstance(stage, MaskedLm)
    length, limit = stage.passage_length, recipe.dataset.max_tokens
    if length > limit:
        yield f"{key}.passage_length: {length} is more than dataset.max_tokens ({limit}), which is all that is kept"
    start = recipe.stages[name]
    while isinstance(start, Started) and start.init in recipe.stages:
        start = recipe.stages[start.init]
    if isinstance(start, Pretrain) and length > start.positions:
        yield f"{key}: {length} tokens do not fit into the {start.positions} positions of the model it starts from"
    yield from schedule_checks.rates(key, stage)
    if stage.split_temperature is not None:
        yield f"{key}.split_temperature: a masked_lm stage reads the passages alone; leave this key out"
    if stage.compile:
        yield f"{key}.compile: layers of a masked_lm stage are not compiled here; leave this key out"
    for unused in ("lora", "load_in"):
        if getattr(stage, unused):
            yield f"{key}.{unused}: a masked_lm stage trains all weights of a model; leave this key out"
    if stage.stop_words and not stage.bow_weight:
        yield f"{key}.stop_words: without a bag of words (bow_weight: 0) there is nothing to leave out; remove this key"
