"""`led push`: upload a trained stage to the model hub, with its card."""

from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import Results, complete_stage, results_folder


def push(
    stage: Annotated[str, typer.Argument(help="the stage of the recipe", autocompletion=complete_stage)],
    name: Annotated[str, typer.Argument(help="ORG/NAME on the hub")],
    results: Results = None,
    private: Annotated[bool, typer.Option("--private", help="if the model is new on the hub, only you see it")] = False,
    dry_run: Annotated[
        Path | None, typer.Option(help="only write the folder that would be uploaded", show_default=False)
    ] = None,
) -> None:
    """Upload a trained stage and its card to the model hub, after opening it with sentence-transformers."""
    from led_pipeline.export import push as export  # it loads torch

    print(export.push(results_folder(results), stage, name, private, dry_run))
