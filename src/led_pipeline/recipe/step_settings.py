"""What a command gets as --settings: the groups that its step depends on, with the recipe's seed filled in.

The commands of the workflow get exactly the keys of their step (`steps.keys_of`); where one is left out by hand, it
has its default.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import NotJson, parse_json
from led_pipeline.recipe.errors import sentences
from led_pipeline.recipe.schema import Section, Seed
from led_pipeline.recipe.settings import Pretraining, Sampling, Schedule

T = TypeVar("T", bound=Section)


class TrainsetSettings(Sampling, Schedule):
    seed: Seed


class PretrainSettings(Pretraining):
    seed: Seed


def parser_of(kind: type[T]) -> Callable[[str], T]:
    """Return what reads the JSON of --settings, for argparse.

    Raises:
        InputError: one line per fault, each naming its key.
    """

    def parse(text: str) -> T:
        try:
            values = parse_json(text)
        except NotJson as error:
            raise InputError(f"--settings: {error}") from error
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            raise InputError("\n".join(f"--settings: {fault}" for fault in sentences(error, kind, values))) from error

    return parse
