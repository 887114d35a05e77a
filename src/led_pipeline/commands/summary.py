"""`led summary`: compare the measures of several finished runs, and average them."""

from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.files.atomic import write_json


def summary(
    results: Annotated[list[Path], typer.Argument(help="results folders, one per dataset")],
    split: Annotated[
        str | None, typer.Option(help="the split of each; default: the first that its recipe evaluates")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="also write the numbers to this file")] = None,
) -> None:
    """Print nDCG@10 and recall@100 of several finished runs, and their means."""
    from led_pipeline.report import summary as report  # it loads SciPy

    result = report.summary(results, split)
    if json:
        write_json(json, result)
    print(report.summary_text(result), end="")
