"""`led inspect`: look at results, at a trainset, a pool or a model."""

import json as encoder
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from led_pipeline.commands.options import Results, complete_run, complete_stage, complete_system, results_folder

RUN = "run"  # the command of `led inspect results/demo`


class _PathOrCommand(TyperGroup):
    """A group whose first argument may be a results folder instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


inspect = typer.Typer(
    cls=_PathOrCommand,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at results, trainsets, pools and models. `led inspect results/demo` is short for `led inspect run ...`.",
)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
QueryName = Annotated[str | None, typer.Option("--query", help="a training query, by its id or its row (from 0)")]
Stage = Annotated[str, typer.Argument(help="a stage of the recipe", autocompletion=complete_stage)]
System = Annotated[str, typer.Argument(help="a system that negatives are drawn from", autocompletion=complete_system)]


def show(result: dict[str, Any], text: str, json: bool) -> None:
    """Print a result as text or JSON."""
    print(encoder.dumps(result, indent=2, ensure_ascii=False) if json else text.rstrip("\n"))


@inspect.command(RUN)
def run(
    results: Annotated[Path, typer.Argument(help="the results folder", autocompletion=complete_run)],
    configfile: Annotated[
        Path | None,
        typer.Option(help="the config to compare with; default: the recipe of the latest run", show_default=False),
    ] = None,
    check: Annotated[bool, typer.Option(help="ask Snakemake what is out of date")] = True,
    json: Json = False,
) -> None:
    """A results folder: what is there.

    Also what is missing or out of date, how large it is, and the measures in short.
    """
    from led_pipeline.inspection.overview import overview
    from led_pipeline.inspection.overview_text import overview_text
    from led_pipeline.inspection.runs import open_run

    result = overview(open_run(results), configfile, check)
    show(result, overview_text(result), json)


@inspect.command()
def trainset(stage: Stage, query: QueryName = None, results: Results = None, json: Json = False) -> None:
    """A trainset, or one query's examples.

    Without --query: counts, sources of the negatives, teachers' scores.
    """
    from led_pipeline.inspection.runs import open_run
    from led_pipeline.inspection.trainset_view import examples_of, trainset_overview
    from led_pipeline.inspection.view_text import examples_text, trainset_text

    opened = open_run(results_folder(results))
    if query is None:
        result = trainset_overview(opened, stage)
        show(result, trainset_text(result), json)
        return
    record, examples = examples_of(opened, stage, query)
    show({"query": asdict(record), "examples": [asdict(e) for e in examples]}, examples_text(record, examples), json)


@inspect.command()
def pool(
    system: System,
    query: QueryName = None,
    results: Results = None,
    passages: Annotated[int, typer.Option(min=1, help="passages of the query to print")] = 10,
    json: Json = False,
) -> None:
    """A pool of negatives, and passages of a query."""
    from led_pipeline.inspection.pool_view import pool_of_query, pool_overview
    from led_pipeline.inspection.runs import open_run
    from led_pipeline.inspection.view_text import pool_query_text, pool_text

    opened = open_run(results_folder(results))
    if query is not None:
        record, entries = pool_of_query(opened, system, query, passages)
        show({"query": asdict(record), "passages": entries}, pool_query_text(record, entries), json)
        return
    result = pool_overview(opened, system)
    example = pool_of_query(opened, system, None, passages) if result["queries"] else (None, [])
    show(result, pool_text(result, *example), json)


@inspect.command()
def model(stage: Stage, results: Results = None, json: Json = False) -> None:
    """A saved model.

    How it reads texts, where its weights came from, and how its training went.
    """
    from led_pipeline.inspection.model_view import model_overview
    from led_pipeline.inspection.runs import open_run
    from led_pipeline.inspection.view_text import model_text

    result = model_overview(open_run(results_folder(results)), stage)
    show(result, model_text(result), json)
