"""Check what a stage changes over its training: every check yields sentences that name the key."""

from collections.abc import Iterator

from led_pipeline.recipe.stages import Model


def faults(key: str, stage: Model) -> Iterator[str]:
    """Yield one sentence per fault of a stage that is trained; `key` is its place."""
    fraction = type(stage).model_fields["warmup_fraction"].default
    if stage.warmup_steps is not None and stage.warmup_fraction != fraction:
        yield f"{key}.warmup_steps: the warm-up has its length from here or from warmup_fraction, keep one of them"
    if stage.schedule == "constant" and stage.learning_rate_end:
        yield f"{key}.learning_rate_end: with schedule: constant the learning rate does not fall; leave this key out"
