"""`led download`: fetch a recipe's data and models, and nothing else."""

from pathlib import Path

import typer

from led_pipeline.commands.options import Config, ConfigFile, Directory, config_path, inside
from led_pipeline.inspection.downloads import download as fetch
from led_pipeline.inspection.downloads import lines, nothing_to_fetch, targets
from led_pipeline.recipe.load import read_recipe


def download(config: Config = None, configfile: ConfigFile = None, directory: Directory = Path()) -> None:
    """Fetch a recipe's data and models alone.

    A later run needs no network for them. What is complete is not fetched again, and an interrupted download continues.
    GPUs are not needed.
    """
    path = config_path(config, configfile, directory)
    with inside(directory):
        recipe = read_recipe(path, Path())
        if not targets(recipe):
            print(nothing_to_fetch(recipe))
            return
        code = fetch(recipe, path, Path())
        print("\n".join(lines(recipe, Path())))
    raise typer.Exit(code)
