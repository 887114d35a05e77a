"""Starts: what a stage takes over from the model that it starts from, and where it must not differ. Imports no torch.

A model folder describes itself: in led.json if led_pipeline saved it, in modules.json and other files if
sentence-transformers did (`Description`, read by `pretrained.descriptions`). A stage takes the keys that the recipe
does not set from there (`adopted`); one that the recipe sets to another value is a fault (`contradictions`), unless the
stage says `reinterpret: true`. The lengths may differ.

The jobs adopt, from the folder that they get: before the first job, a model of the hub is not here yet, and a recipe
must mean the same in every run. So `Recipe` and the settings on command lines keep the defaults, and `--adopt` names
the keys that the recipe does not set.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from led_pipeline import user_code
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.representation import DenseRepresentation, Representation, Side, Start
from led_pipeline.recipe.schema import Positive, Section
from led_pipeline.recipe.stages import Model, Stage
from led_pipeline.recipe.step_settings import MODEL, ModelSettings

S = TypeVar("S", bound=Representation)

LENGTHS: dict[str, Side] = {"query_length": "query", "passage_length": "passage"}
PREFIXES: dict[str, Side] = {"query_prefix": "query", "passage_prefix": "passage"}
PROMPT = ("template", "true_word", "false_word")
# Keys that only remove weights from a lexicon model's vectors: a stage may set them on top of any model, and one that
# is trained starts without those of its folder.
PRUNING = ("top_k_queries", "top_k_passages", "prune_ratio_queries", "prune_ratio_passages")
# Keys of a saved model that do not decide what it computes.
FREE = ("family", "temperature", *LENGTHS, *PRUNING)
# What a stage may add to a model without it: key -> the value that says it has none.
ADDED: dict[str, object] = {"untied": False, "query_encoder": "model"}
OF_ENCODER = ("pooling", "normalize", "head", "encoder_decoder")  # a user's encoder replaces them
REINTERPRET = "; or set reinterpret: true to use it that way on purpose"


@dataclass(frozen=True)
class Value:
    """What a folder says about one key."""

    value: Any
    words: str
    """the value for readers, with the file that says so"""


@dataclass(frozen=True)
class Description:
    """A model folder's description of itself, in the keys of a recipe."""

    folder: Path
    maker: Literal["sentence-transformers", "led_pipeline"]
    family: str
    """dense, lexicon or ranker"""
    file: str
    """the file that says which family it is"""
    values: Mapping[str, Value] = field(default_factory=dict)
    """key -> what the folder says; keys that it does not mention are not in it"""
    problems: Mapping[str, str] = field(default_factory=dict)
    """key -> a sentence about something that no value of the key can express"""


class Adoption(Section):
    """What a job takes over from the folder that it starts from (--adopt)."""

    keys: list[str]
    """keys that the recipe does not set"""
    max_tokens: Positive
    """tokens of a text in the token store, the most that a length can be"""


# --- which keys come from the folder


def compared(family: str, trained: bool) -> list[str]:
    """Return the keys of a stage that must not differ from what it starts from."""
    keys = list(MODEL[family].model_fields)
    return [key for key in keys if key not in FREE or (key in PRUNING and not trained)]


def outside(recipe: Recipe) -> list[str]:
    """Return the folders and hub models that stages start from, each once."""
    names = needs.sources(recipe, list(recipe.stages), "init", "query_init")
    return [name for name in names if name not in recipe.stages]


def adoptable(recipe: Recipe, name: str) -> list[str]:
    """Return the keys that a stage takes from the folder or hub model that it starts from, directly or by stages.

    These are the keys that neither the stage nor any stage of its family on the way sets. A stage that starts from
    another family takes none.
    """
    stage = recipe.stages[name]
    if not isinstance(stage, Model) or stage.reinterpret:
        return []
    keys = [key for key in (*LENGTHS, *compared(stage.family, stage.train)) if key not in stage.model_fields_set]
    if stage.init not in recipe.stages:
        return keys
    if recipe.stages[stage.init].family != stage.family:
        return []
    before = adoptable(recipe, stage.init)
    return [key for key in keys if key in before]


def adoption(recipe: Recipe, name: str) -> Adoption | None:
    """Return what the job of a stage takes over from its folder, or None if the recipe says everything."""
    keys = adoptable(recipe, name)
    return Adoption(keys=keys, max_tokens=recipe.dataset.max_tokens) if keys else None


def resolved(recipe: Recipe, descriptions: Mapping[str, Description | None]) -> Recipe:
    """Return the recipe as its jobs understand it: with what the stages take from their folders.

    Args:
        descriptions: name of a folder or hub model -> what it says; stages that start from others stay as they are.
    """
    stages: dict[str, Stage] = {}
    for name in needs.order(recipe):
        stage = recipe.stages[name]
        if isinstance(stage, Model) and (left := adoption(recipe, name)):
            if stage.init in stages:
                start = stages[stage.init]
                stage = stage.model_copy(update={key: getattr(start, key) for key in left.keys})
            else:
                stage, _ = adopted(descriptions.get(stage.init), stage, left)
        stages[name] = stage
    return recipe.model_copy(update={"stages": {name: stages[name] for name in recipe.stages}})


def adopted(description: Description | None, settings: S, adoption: Adoption | None) -> tuple[S, list[str]]:
    """Return settings with the values of the folder for the keys that the recipe does not set.

    Returns:
        The settings, and a sentence for each key whose value changes.
    """
    if description is None or adoption is None or description.family != getattr(settings, "family", None):
        return settings, []
    changes: dict[str, Any] = {}
    notes = []
    replaced = OF_ENCODER if isinstance(settings, DenseRepresentation) and settings.encoder else ()
    for key in adoption.keys:
        entry = description.values.get(key)
        if entry is None or key in replaced:
            continue
        value = min(entry.value, adoption.max_tokens) if key in LENGTHS else entry.value
        if value != getattr(settings, key):
            changes[key] = value
            notes.append(f"{key}: {value!r}, as '{description.folder}' says ({entry.words})")
    return settings.model_copy(update=changes), notes


# --- which must not differ


def contradictions(
    description: Description,
    settings: ModelSettings,
    trained: bool,
    sides: Collection[Side] = ("query", "passage"),
    unset: Collection[str] = (),
) -> list[str]:
    """Return one sentence for every key of a stage that contradicts the folder it starts from.

    A stage that trains another family uses only the transformer, so the rest of the folder does not concern it.

    Args:
        trained: whether the stage is trained from the folder, and not used as it is.
        sides: whose texts the model reads.
        unset: keys that the stage takes from the folder, which therefore cannot differ.
    """
    reinterpret = isinstance(settings, Start) and settings.reinterpret
    if reinterpret or (trained and settings.family != description.family):
        return []
    if settings.family != description.family:
        where = f"'{description.folder}' is a {description.family} model ({description.file})"
        faults = [f"family: {where}, but the recipe has {settings.family}"]
    else:
        keys = [key for key in compared(settings.family, trained) if key not in unset]
        faults = [*_problems(description, settings), *_different(description, settings, sides, keys)]
    return [fault + REINTERPRET for fault in faults]


def _problems(description: Description, settings: ModelSettings) -> Iterator[str]:
    """Yield what no key can express, unless code of the user does it."""
    dense = settings if isinstance(settings, DenseRepresentation) else None
    for key, sentence in description.problems.items():
        pooled = key == "pooling" and dense is not None and user_code.is_reference(dense.pooling)
        replaced = key in (*OF_ENCODER, "encoder") and dense is not None and dense.encoder is not None
        if not (pooled or replaced):
            yield f"{key}: {sentence}"


def _different(
    description: Description, settings: ModelSettings, sides: Collection[Side], keys: Collection[str]
) -> Iterator[str]:
    for key in keys:
        entry = description.values.get(key)
        if entry is None or (key in PREFIXES and PREFIXES[key] not in sides):
            continue
        ours = getattr(settings, key)
        if same(key, entry.value, ours) or _decided_by_code(key, settings) or added(key, entry.value, ours):
            continue
        yield (
            f"{key}: '{description.folder}' is a {description.maker} model with {entry.words}, but the recipe has"
            f" {for_sentence(key, ours)}; write {key}: {written(entry.value)}"
        )


def same(key: str, before: object, ours: object) -> bool:
    """Return whether two values of a key mean the same; spaces at the end of a prefix do not count."""
    if key in PREFIXES:
        return str(before).rstrip(" ") == str(ours).rstrip(" ")
    return before == ours


def added(key: str, before: object, ours: object) -> bool:
    """Return whether a stage adds something to a model without it; pruning counts if the recipe sets a value."""
    return (key in ADDED and before == ADDED[key]) or (key in PRUNING and bool(ours))


def _decided_by_code(key: str, settings: ModelSettings) -> bool:
    """Return whether the user's code computes what a key says, so that the folder's value does not matter."""
    if not isinstance(settings, DenseRepresentation):
        return False
    return (key in OF_ENCODER and settings.encoder is not None) or (
        key == "pooling" and user_code.is_reference(settings.pooling)
    )


def for_sentence(key: str, value: object) -> str:
    """Return a value for a sentence."""
    return repr(value) if key in PREFIXES or key in PROMPT else written(value)


def written(value: object) -> str:
    """Return a value as it is written in a recipe."""
    if isinstance(value, str) and (not value.isidentifier() or value.lower() in ("true", "false", "null")):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
