"""`led compare`: compare systems of one run, or runs of one dataset, with paired tests."""

import json as encoder
from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import complete_run_or_system
from led_pipeline.files.errors import InputError


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS... [SYSTEM]...",
            help="results folders, then systems; the default systems are the pairs of evaluation.compare, or with two"
            " folders all that both have",
            autocompletion=complete_run_or_system,
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="the split; default: the first that the recipe evaluates", show_default=False)
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="a measure, such as nDCG@10; may be repeated", show_default=False)
    ] = None,
    mean: Annotated[
        bool,
        typer.Option("--mean", help="two runs repeat one recipe (seeds): average each query; always so with more runs"),
    ] = False,
    queries: Annotated[int, typer.Option(min=0, help="queries to list in each direction")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="seed of the permutations and resamples")] = 42,
    force: Annotated[bool, typer.Option("--force", help="compare although the data differ")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare systems of one run, or of several.

    It prints measures, paired tests with Holm's correction, intervals, and the queries that moved most.
    `led compare results/demo led den_continue` compares systems of one run, `led compare results/a results/b` the
    systems of two runs that have the same name, and with three or more runs (seeds) the means over the runs.
    """
    from led_pipeline.inspection.comparison_page import Request, compare_runs, comparison_text  # it loads SciPy
    from led_pipeline.inspection.runs import open_run
    from led_pipeline.recipe.recorded import is_run

    folders: list[Path] = []
    for name in names:
        if not (is_run(Path(name)) or "/" in name or (not folders and Path(name).is_dir())):
            break
        folders.append(Path(name))
    systems = names[len(folders) :]
    if not folders:
        raise InputError(f"'{names[0]}': expected a results folder first, such as results/demo")
    request = Request(systems, split, measure or [], mean, queries, force, seed)
    result = compare_runs([open_run(folder) for folder in folders], request)
    text = encoder.dumps(result, indent=2, ensure_ascii=False) + "\n" if json else comparison_text(result)
    print(text, end="")
