"""Check that a stage means the same as the stage or the folder that it starts from, unless it says `reinterpret: true`.

A model that was trained with one pooling, prefix or tokenizer and is continued or used with another one gives vectors
that look right and are wrong.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath

from led_pipeline.recipe import starts
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.representation import DenseRepresentation, RankerRepresentation, Side
from led_pipeline.recipe.stages import MaskedLm, Model, Pretrain, Ranker
from led_pipeline.recipe.starts import Description

Descriptions = Mapping[str, Description | None]


def faults(recipe: Recipe, descriptions: Descriptions, finished: Collection[str] = ()) -> Iterator[str]:
    """Yield one sentence per key of a stage that differs.

    Args:
        descriptions: name of a folder or hub model -> what it says about its model; what is not in it is not compared.
        finished: stages that have models already, so that results of an older version can be read; a run compares
            them, too, in its preflight.
    """
    whole = starts.resolved(recipe, descriptions)
    for name, stage in recipe.stages.items():
        if isinstance(stage, MaskedLm) and stage.init in recipe.stages and name not in finished:
            yield from _tokenizer(recipe, name, stage.init, "")
        if not isinstance(stage, Model) or stage.reinterpret or name in finished:
            continue
        for key, sides in _sides(stage).items():
            start = stage.init if key == "init" else getattr(stage, "query_init", None) or ""
            if start in recipe.stages:
                yield from _tokenizer(recipe, name, start)
                yield from _stages(whole, name, start, _unknown(recipe, descriptions, start))
            elif description := descriptions.get(start):
                unset = starts.adoptable(recipe, name) if key == "init" else ()
                compared = whole.model_stage(name)
                for fault in starts.contradictions(description, compared, stage.train, sides, unset):
                    yield f"stages.{name}.{fault}"


def _sides(stage: Model) -> dict[str, tuple[Side, ...]]:
    """Return the keys that name what a stage starts from, each with the sides that the model there reads."""
    if not isinstance(stage, Ranker) and stage.query_init:
        return {"init": ("passage",), "query_init": ("query",)}
    return {"init": ("query", "passage")}


def _unknown(recipe: Recipe, descriptions: Descriptions, name: str) -> list[str]:
    """Return the keys of a stage that depend on a folder without a description here."""
    keys, start = starts.adoptable(recipe, name), name
    while start in recipe.stages:
        start = getattr(recipe.stages[start], "init", "")
    return [] if start in descriptions else keys


def _stages(whole: Recipe, name: str, start: str, unknown: Collection[str]) -> Iterator[str]:
    """Compare a stage with the stage that it starts from; a model of another family has nothing to contradict."""
    ours, parent = whole.stages[name], whole.stages[start]
    if not isinstance(ours, Model) or not isinstance(parent, Model) or ours.family != parent.family:
        return
    for key in starts.compared(ours.family, ours.train):
        before, now = getattr(parent, key), getattr(ours, key)
        if key in unknown or starts.same(key, before, now) or starts.added(key, before, now):
            continue
        if _unused(key, ours, parent):
            continue
        has, now = starts.for_sentence(key, before), starts.for_sentence(key, now)
        yield (
            f"stages.{name}.{key}: the stage starts from '{start}', which has {has}, but it has {now} itself; write"
            f" {key}: {starts.written(before)}{starts.REINTERPRET}"
        )


def _unused(key: str, ours: Model, parent: Model) -> bool:
    """Return whether a key has no effect: the prompt of classifiers, the pooling beside a user's encoder."""
    if isinstance(ours, RankerRepresentation) and isinstance(parent, RankerRepresentation):
        return key in starts.PROMPT and ours.scoring == parent.scoring == "classifier"
    return key in starts.OF_ENCODER and isinstance(ours, DenseRepresentation) and ours.encoder is not None


def _tokenizer(recipe: Recipe, name: str, start: str, otherwise: str = starts.REINTERPRET) -> Iterator[str]:
    before, now = tokenizer(recipe, start), tokenizer(recipe, recipe.tokenizer_of(name))
    if before != now:
        yield (
            f"stages.{name}.tokenizer: the stage starts from '{start}', whose texts are read with the tokenizer"
            f" '{before}', but its own are read with '{now}'; write tokenizer: {starts.written(before)}{otherwise}"
        )


def tokenizer(recipe: Recipe, name: str) -> str:
    """Return the tokenizer that a name means: a pretrained stage, or what the recipe calls the folder or hub model."""
    while name in recipe.stages:
        if isinstance(recipe.stages[name], Pretrain):
            return name
        name = recipe.tokenizer_of(name)
    return str(PurePath(name))
