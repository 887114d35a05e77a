"""Starting: what a job takes over from the folders that its model starts from, and whether its settings fit them."""

from pathlib import Path
from typing import TypeVar

from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.descriptions import describe
from led_pipeline.recipe.representation import RankerRepresentation, Representation, Side
from led_pipeline.recipe.settings import Optimisation
from led_pipeline.recipe.starts import Adoption, adopted, contradictions
from led_pipeline.recipe.step_settings import ImportSettings, TrainingSettings, parser_of

S = TypeVar("S", bound=Representation)

parse_adoption = parser_of(Adoption, "--adopt")


def with_adopted(init: str, settings: S, adoption: Adoption | None) -> tuple[S, list[str]]:
    """Return settings with what the folder says about the keys that the recipe does not set; sentences for a log.

    Raises:
        InputError: the folder's description of itself cannot be read.
    """
    return adopted(describe(Path(init)), settings, adoption)


def compare_with_folders(source: str, settings: TrainingSettings | ImportSettings, query_init: str | None) -> None:
    """Compare settings with what the folders that a model starts from say about themselves.

    Raises:
        InputError: one line per key that differs.
    """
    untied = not isinstance(settings, RankerRepresentation) and settings.untied
    sides: dict[str, tuple[Side, ...]] = {source: ("query", "passage")}
    if untied and query_init:
        sides = {source: ("passage",), query_init: ("query",)}
    for folder, read_by in sides.items():
        description = describe(Path(folder))
        trained = isinstance(settings, Optimisation)
        if description and (faults := contradictions(description, settings, trained, read_by)):
            raise InputError("\n".join(faults))
