"""`led report`: write the page of a finished run again, or one page about several runs of a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import complete_run

PUBLISHED = Path(__file__).parents[3] / "config" / "published.yaml"


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="results folders; of several runs, the page is about the first and compares all",
            autocompletion=complete_run,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="the page; default: report/index.html of the first folder", show_default=False)
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="published numbers; default: config/published.yaml", show_default=False)
    ] = None,
    mean: Annotated[
        bool,
        typer.Option("--mean", help="two runs repeat one recipe (seeds): average each query; always so with more runs"),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="compare runs although their data differ")] = False,
) -> None:
    """Write the report of finished runs as one HTML page.

    A run has written its page already. This command writes it again, for instance after an update of led_pipeline, and
    with several folders adds what `led compare` says about them. No other file changes.
    """
    from led_pipeline.inspection.comparison_page import Request, compare_runs  # they load SciPy and Altair
    from led_pipeline.inspection.runs import open_run
    from led_pipeline.report.comparisons import answer, main_measure
    from led_pipeline.report.contents import read_report
    from led_pipeline.report.page import write_page

    runs = [open_run(folder) for folder in results]
    first = runs[0]
    several = None
    if len(runs) > 1:
        several = compare_runs(runs, Request(average=mean, queries=0, force=force))
        about = answer(first.recipe, set(first.systems)) if several["averaged"] else None
        if about:
            systems = list(dict.fromkeys([about.final, about.control or "bm25", "bm25"]))
            measure = main_measure(first.recipe, several["split"])
            request = Request(systems, several["split"], [measure], average=True, queries=0, force=force)
            several["answer"] = [test for test in compare_runs(runs, request)["tests"] if test["first"] == about.final]
    numbers = published or (PUBLISHED if PUBLISHED.is_file() else None)
    page = out or Path(first.layout.page)
    write_page(page, read_report(first.recipe, first.folder, numbers, several))
    print(page)
