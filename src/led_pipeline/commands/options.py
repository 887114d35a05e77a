"""Options that several commands share, and the completion of names in a shell."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.layout import Layout

CONFIG = Path("config/config.yaml")

Config = Annotated[Path | None, typer.Argument(help=f"the recipe (default: {CONFIG})", show_default=False)]
ConfigFile = Annotated[Path | None, typer.Option(help="the recipe, as with snakemake --configfile", show_default=False)]
Directory = Annotated[Path, typer.Option(help="the folder of the run, as with snakemake --directory")]


def config_path(argument: Path | None, option: Path | None, directory: Path = Path()) -> Path:
    """Return the config that a command names, as an argument or with --configfile, valid in any folder.

    If it names none: config/config.yaml in the folder of the run, or else in the source tree, as in the Snakefile.

    Raises:
        typer.BadParameter: both are there.
    """
    if argument and option:
        raise typer.BadParameter(f"the recipe is named twice, '{argument}' and with --configfile '{option}'")
    if path := argument or option:
        return absolute(path, directory)
    return CONFIG if (directory / CONFIG).is_file() else Path(__file__).parents[3] / CONFIG


def absolute(path: Path, directory: Path) -> Path:
    """Return a path that means the same `inside` the folder of the run; as it is, if this is that folder."""
    return path if directory == Path() else path.absolute()


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Work in the folder of a run, so that the relative paths of its recipe mean what they mean to Snakemake.

    Raises:
        InputError: there is no such folder.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; create it first, or correct --directory")
    with contextlib.chdir(directory):
        yield


def results_folder(option: Path | None) -> Path:
    """Return the results folder that a command names with --results; the only one in results/ by default.

    Raises:
        typer.BadParameter: there is none, or several.
    """
    if option:
        return option
    from led_pipeline.recipe.recorded import runs_in

    folders = runs_in(Path("results"))
    if len(folders) != 1:
        there_are = f"there are {', '.join(map(str, folders))}" if folders else "there is none in results/"
        raise typer.BadParameter(f"name a results folder with --results; {there_are}")
    return folders[0]


def _recipe_of(folder: Path) -> dict[str, Any]:
    """Return the recorded recipe of a results folder for completion; empty if it cannot be read."""
    try:
        recipe = read_json(Layout(folder).resolved_recipe)
    except InputError:
        return {}
    return recipe if isinstance(recipe, dict) else {}


def _completion_folders(context: typer.Context | None) -> list[Path]:
    """Return the results folders that a completion may look at: the one on the command line, or all in results/."""
    from led_pipeline.recipe.recorded import is_run, runs_in

    values = context.params if context else {}
    option = values.get("results")
    words = [word for value in values.values() if isinstance(value, list | tuple) for word in value]
    folders = [Path(str(each)) for each in ([option] if option else words) if each]
    return [folder for folder in folders if is_run(folder)] or runs_in(Path("results"))


def complete_run(incomplete: str) -> list[str]:
    """Complete a results folder."""
    return [str(f) for f in _completion_folders(None) if str(f).startswith(incomplete)]


def complete_stage(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a stage, from the recorded recipes of the results folders."""
    stages = [name for folder in _completion_folders(ctx) for name in _recipe_of(folder).get("stages", {})]
    return [name for name in dict.fromkeys(stages) if name.startswith(incomplete)]


def complete_system(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a system: bm25, a stage, a variant or a fusion."""
    recipes = [_recipe_of(folder) for folder in _completion_folders(ctx)]
    names = [name for recipe in recipes for key in ("variants", "fusion") for name in recipe.get(key, {})]
    return [name for name in dict.fromkeys(["bm25", *complete_stage(ctx, ""), *names]) if name.startswith(incomplete)]


def complete_run_or_system(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a results folder, or a system of one."""
    return [*complete_run(incomplete), *complete_system(ctx, incomplete)]


Results = Annotated[
    Path | None,
    typer.Option(
        help="the results folder of a run; default: the only one in results/",
        autocompletion=complete_run,
        show_default=False,
    ),
]
