"""`led serve`: search with several systems side by side, on a page in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import complete_run, results_folder
from led_pipeline.plan.machine import cores


def serve(
    results: Annotated[
        Path | None,
        typer.Argument(
            help="the results folder of a run; default: the only one in results/", autocompletion=complete_run
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port")] = 8000,
    host: Annotated[
        str, typer.Option(help="the address to listen on; any other lets people on other machines read the texts")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="a further host name under which the page answers; repeatable")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="open the page in the browser")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="threads of a search; default: all processors")] = None,
) -> None:
    """Search with what a run trained, on a local page with several systems side by side."""
    from led_pipeline.serve import server  # it loads torch

    server.serve(results_folder(results), host, port, open_browser, threads or cores(), allow_host or ())
