"""`led init`: look at a folder of data, and write a commented recipe for it and this machine."""

import re
from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError


def init(
    data: Annotated[Path, typer.Option(help="a folder or a .zip archive with collection, queries and judgements")],
    out: Annotated[
        Path | None, typer.Option(help="the recipe to write; default: NAME.yaml", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="name of the dataset; default: that of the folder", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="a hub id or a folder to start from; default: a model from scratch")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to use; default: those of this machine")] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite the recipe")] = False,
) -> None:
    """Write a recipe for a folder of data.

    The command reads the data, reports counts and doubts, and writes a commented recipe that fits this machine.
    """
    from led_pipeline.inspection.proposal import Machine
    from led_pipeline.inspection.recipe_writer import recipe_text, report
    from led_pipeline.inspection.source_folder import recognised
    from led_pipeline.inspection.source_texts import read_source_folder
    from led_pipeline.plan import machine

    name = name or _name_of(data)
    path = out or Path(f"{name}.yaml")
    if path.exists() and not force:
        raise InputError(f"{path}: it is there already; name another file with --out, or overwrite it with --force")
    computer = Machine(machine.cores(), machine.memory(), len(machine.gpus()) if gpus is None else gpus)
    source = read_source_folder(recognised(data))
    text, recipe = recipe_text(source, computer, name, model, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(report(source, computer, recipe, path))
    raise typer.Exit(1 if source.faults else 0)


def _name_of(data: Path) -> str:
    """Return a name for the dataset in a folder: letters, digits and underscores, beginning with a letter."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", data.resolve().name.removesuffix(".zip")).strip("_")
    return words[:64] if words[:1].isalpha() else f"data_{words}".rstrip("_")[:64]
