"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Path("config/config.yaml")

Config = Annotated[Path | None, typer.Argument(help=f"the recipe (default: {CONFIG})", show_default=False)]
ConfigFile = Annotated[Path | None, typer.Option(help="the recipe, as with snakemake --configfile", show_default=False)]
Directory = Annotated[Path, typer.Option(help="the parent folder of results/")]


def config_path(argument: Path | None, option: Path | None) -> Path:
    """Return the config that a command names, as an argument or with --configfile; the default if neither.

    Raises:
        typer.BadParameter: both are there.
    """
    if argument and option:
        raise typer.BadParameter(f"the recipe is named twice, '{argument}' and with --configfile '{option}'")
    return argument or option or CONFIG
