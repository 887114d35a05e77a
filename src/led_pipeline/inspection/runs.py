"""Open the results folder of a run: its recipe and its layout."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from led_pipeline.data.tables import read_column
from led_pipeline.files.errors import InputError
from led_pipeline.recipe import needs
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.recorded import recorded_recipe


@dataclass(frozen=True)
class Run:
    """A results folder, and the recipe that its latest run had."""

    folder: Path
    recipe: Recipe

    @property
    def layout(self) -> Layout:
        return Layout(self.folder)

    @cached_property
    def systems(self) -> list[str]:
        """The systems that the recipe evaluates."""
        return needs.systems(self.recipe)

    @cached_property
    def collection(self) -> Path:
        return Path(self.layout.passages)

    def check_name(self, name: str, names: list[str], kind: str) -> None:
        """Raise an `InputError` if a name is not one of some kind (stage, system, split) in this run."""
        if name not in names:
            raise InputError(
                f"{self.folder}: no {kind} '{name}'{nearest(name, names)}; there are {', '.join(names) or 'none'}"
            )

    def query_ids(self, split: str) -> list[str]:
        return read_column(present(self.layout.queries(split)), "id")

    def query_texts(self, split: str) -> list[str]:
        return read_column(present(self.layout.queries(split)), "text")


def open_run(folder: Path) -> Run:
    """Read the recipe of a results folder; see `recorded_recipe` for errors."""
    return Run(folder, recorded_recipe(folder))


def present(path: str) -> Path:
    """Return the path of a file of a run.

    Raises:
        InputError: it is not there.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file; run Snakemake to its end first, or name the results folder of another run"
        )
    return Path(path)
