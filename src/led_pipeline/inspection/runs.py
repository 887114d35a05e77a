"""Open the results folder of a run: its recipe and its layout."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from led_pipeline.data.tables import read_column
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe import needs
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe


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


def is_run(folder: Path) -> bool:
    """Return whether a folder has the results of a run."""
    return Path(Layout(folder).resolved_recipe).is_file()


def open_run(folder: Path) -> Run:
    """Read the recipe of a results folder.

    Raises:
        InputError: it is no results folder; the message names the ones nearby.
    """
    if not is_run(folder):
        others = ", ".join(str(path) for path in runs_in(folder) or runs_in(folder.parent) or runs_in(Path("results")))
        fault = "there is no report/recipe.json in it" if folder.is_dir() else "there is no such folder"
        near = f"; there is {others}" if others else "; a run writes it to results/NAME"
        raise InputError(f"{folder}: expected the results of a run, but {fault}{near}")
    config = read_json(Layout(folder).resolved_recipe)
    recipe = load_recipe(config, trained=lambda _: config["stages"], quiet=True)  # user code may have been moved
    return Run(folder, recipe)


def runs_in(folder: Path) -> list[Path]:
    """Return the results folders in a folder."""
    return sorted(path for path in folder.iterdir() if is_run(path)) if folder.is_dir() else []


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
