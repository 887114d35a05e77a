"""Check what a stage changes over its training: every check yields sentences that name the key."""

from collections.abc import Iterator

from led_pipeline.recipe.dataset import Dataset
from led_pipeline.recipe.stages import MaskedLm, Model


def faults(key: str, stage: Model, dataset: Dataset) -> Iterator[str]:
    """Yield one sentence per fault of a stage that is trained; `key` is its place."""
    if stage.split_temperature is not None and not dataset.splits["train"].union_of:
        yield f"{key}.split_temperature: the split train is one set of queries; join several by union_of there"
    yield from rates(key, stage)
    ends = [stage.contrastive_weight_end, *(teacher.weight_end for teacher in stage.teachers)]
    if stage.ramp_fraction != 1 and all(end is None for end in ends):
        yield f"{key}.ramp_fraction: no weight moves; set contrastive_weight_end, or weight_end of a teacher"
    yield from _depth(key, stage)


def rates(key: str, stage: Model | MaskedLm) -> Iterator[str]:
    """Check the keys of the learning rate."""
    fraction = type(stage).model_fields["warmup_fraction"].default
    if stage.warmup_steps is not None and stage.warmup_fraction != fraction:
        yield f"{key}.warmup_steps: the warm-up has its length from here or from warmup_fraction, keep one of them"
    if stage.schedule == "constant" and stage.learning_rate_end:
        yield f"{key}.learning_rate_end: with schedule: constant the learning rate does not fall; leave this key out"


def _depth(key: str, stage: Model) -> Iterator[str]:
    """Check the depth of negatives that changes from epoch to epoch."""
    if stage.negatives_depth_end is None:
        return
    place = f"{key}.negatives_depth_end"
    if stage.epochs == 1:
        yield f"{place}: the depth changes from epoch to epoch, and epochs is 1; raise it, or leave this key out"
    if stage.sampling == "window":
        yield f"{place}: with sampling: window all epochs share one list of negatives; take sampling: random"
    for i, source in enumerate(stage.negatives):
        if not isinstance(source, str) and source.last:
            yield f"{key}.negatives[{i}].last: the worst passages of a pool are in no smaller depth; take first or skip"
