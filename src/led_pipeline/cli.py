"""The command `led`; `led --help` lists its subcommands, and `commands/` has a module for each."""

from importlib.metadata import version
from typing import Annotated

import typer

from led_pipeline.commands.beir import beir
from led_pipeline.commands.compare import compare
from led_pipeline.commands.download import download
from led_pipeline.commands.export import export
from led_pipeline.commands.init import init
from led_pipeline.commands.inspect import inspect
from led_pipeline.commands.plan import plan
from led_pipeline.commands.push import push
from led_pipeline.commands.reference import reference
from led_pipeline.commands.report import report
from led_pipeline.commands.search import search
from led_pipeline.commands.serve import serve
from led_pipeline.commands.status import status
from led_pipeline.commands.summary import summary
from led_pipeline.jobs.command import run_main

app = typer.Typer(
    name="led",
    help="Train first-stage retrievers, and use what was trained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    init,
    download,
    plan,
    status,
    search,
    serve,
    compare,
    export,
    push,
    reference,
    report,
    summary,
    beir,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(inspect, name="inspect")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"led_pipeline {version('led-pipeline')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    pass


def entry() -> None:
    """Run `led`; wrong input becomes one line instead of a traceback."""
    run_main(app)


if __name__ == "__main__":
    entry()
