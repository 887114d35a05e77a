"""Settings as commands take them: the groups that one step reads, typed, with the recipe's seed filled in.

A command of the workflow gets exactly the keys of its step (`steps.keys_of`) as JSON; a key that is missing has its
default. `led.json` in a model folder holds a stage's `Representation` and is read in the same way.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import NotJson, parse_json
from led_pipeline.recipe.errors import nearest, sentences, short
from led_pipeline.recipe.representation import (
    DenseRepresentation,
    LexiconRepresentation,
    LexiconStart,
    RankerRepresentation,
    Start,
)
from led_pipeline.recipe.schema import Section, Seed, Validation
from led_pipeline.recipe.settings import (
    DenseObjective,
    LexiconObjective,
    LexiconOptimisation,
    Masking,
    Optimisation,
    Pretraining,
    RankerObjective,
    Running,
    Sampling,
    Schedule,
)

T = TypeVar("T", bound=Section)


class CandidateSettings(Sampling):
    seed: Seed


class TrainsetSettings(CandidateSettings, Schedule):
    seed: Seed


class PretrainSettings(Pretraining):
    seed: Seed


class DenseTraining(DenseRepresentation, Start, DenseObjective, Optimisation, Schedule):
    seed: Seed


class LexiconTraining(LexiconRepresentation, LexiconStart, LexiconObjective, LexiconOptimisation, Schedule):
    seed: Seed


class RankerTraining(RankerRepresentation, Start, RankerObjective, Optimisation, Schedule):
    seed: Seed


class MaskedLmTraining(Masking, Optimisation, Schedule):
    seed: Seed


class DenseImport(DenseRepresentation, Start):
    pass


class LexiconImport(LexiconRepresentation, LexiconStart):
    pass


class RankerImport(RankerRepresentation, Start):
    pass


# What a model is built from: `led.json`, the settings of an import, or those of a training.
RetrieverSettings = DenseRepresentation | LexiconRepresentation
ModelSettings = RetrieverSettings | RankerRepresentation
RetrieverTraining = DenseTraining | LexiconTraining
TrainingSettings = RetrieverTraining | RankerTraining
ImportSettings = DenseImport | LexiconImport | RankerImport

MODEL: dict[str, type[ModelSettings]] = {
    "dense": DenseRepresentation,
    "lexicon": LexiconRepresentation,
    "ranker": RankerRepresentation,
}
TRAINING: dict[str, type[TrainingSettings]] = {
    "dense": DenseTraining,
    "lexicon": LexiconTraining,
    "ranker": RankerTraining,
}
IMPORT: dict[str, type[ImportSettings]] = {"dense": DenseImport, "lexicon": LexiconImport, "ranker": RankerImport}


class RunningSettings(Running):
    """What no result of a training depends on (--running)."""

    accelerate: str | None = None
    """A configuration file of `accelerate config` that shards the weights."""


class ValidationSettings(Validation):
    """How a training is measured on the way (--validation)."""

    exclude_query_id: bool = False
    """Leave out the passage that has the query's own id."""


def validated(kind: type[T], values: object, source: str) -> T:
    """Return JSON values as settings.

    Args:
        source: the file or option that the values come from, for the error.

    Raises:
        InputError: one line per fault, each naming its key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        config = values if isinstance(values, Mapping) else {}
        raise InputError("\n".join(f"{source}: {fault}" for fault in sentences(error, kind, config))) from error


def validated_family(families: Mapping[str, type[T]], values: object, source: str) -> T:
    """Return JSON values as the settings of the family that they name.

    Raises:
        InputError: they name no family or an unknown one, or as `validated`.
    """
    family = values.get("family") if isinstance(values, Mapping) else None
    if not isinstance(family, str) or family not in families:
        choices = ", ".join(families)
        got = "nothing" if family is None else f"{short(family)}{nearest(str(family), families)}"
        raise InputError(f"{source}: family: expected one of {choices}, got {got}")
    return validated(families[family], values, source)


def parser_of(kind: type[T], option: str = "--settings") -> Callable[[str], T]:
    """Return the argparse type of an option that takes JSON; see `validated` for errors."""
    return lambda text: validated(kind, _parsed(text, option), option)


def parser_of_family(families: Mapping[str, type[T]], option: str = "--settings") -> Callable[[str], T]:
    """Return the argparse type of an option that takes JSON, where its key `family` decides what else there is."""
    return lambda text: validated_family(families, _parsed(text, option), option)


def _parsed(text: str, option: str) -> Any:
    try:
        return parse_json(text)
    except NotJson as error:
        raise InputError(f"{option}: {error}") from error
