"""The recipe that a run has recorded in its results folder, for commands that look at finished results."""

from pathlib import Path

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe


def is_run(folder: Path) -> bool:
    """Return whether a folder has the results of a run."""
    return Path(Layout(folder).resolved_recipe).is_file()


def runs_in(folder: Path) -> list[Path]:
    """Return the results folders in a folder."""
    return sorted(path for path in folder.iterdir() if is_run(path)) if folder.is_dir() else []


def recorded_recipe(folder: Path) -> Recipe:
    """Return the recipe of the latest run in a results folder.

    The user's code in it need not be there any more, since the models keep their copy.

    Raises:
        InputError: it is no results folder; the message names the ones nearby. Or the run is not finished.
    """
    if not is_run(folder):
        nearby = runs_in(folder) or runs_in(folder.parent) or runs_in(Path("results"))
        others = f"; there is {', '.join(map(str, nearby))}" if nearby else "; a run writes it to results/NAME"
        if not folder.is_dir():
            hint = nearest(folder.name, [path.name for path in nearby])
            raise InputError(f"{folder}: no such folder{hint}, expected the results of a run{others}")
        if Path(Layout(folder).passages).is_file():
            raise InputError(
                f"{folder}: these results have no recipe (report/recipe.json) yet, since their run is not finished;"
                f" write it with `snakemake {Layout(folder).resolved_recipe} --cores 1 --configfile CONFIG`"
            )
        raise InputError(f"{folder}: expected the results of a run, but it has no report/recipe.json{others}")
    config = read_json(Layout(folder).resolved_recipe)
    stages = config.get("stages", {}) if isinstance(config, dict) else {}
    return load_recipe(config, trained=lambda _: stages, quiet=True)
