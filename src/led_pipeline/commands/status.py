"""`led status`: how far a run is, from another shell or machine."""

import time
from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.commands.options import complete_run

LOOK_S = 2.0  # between two looks at the files


def status(
    results: Annotated[
        Path, typer.Argument(help="the results folder of the run, such as results/msmarco", autocompletion=complete_run)
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="redraw until the run ends")] = False,
) -> None:
    """Show how far a run is: stages, jobs, losses and remaining time, from files alone."""
    from rich.console import Console
    from rich.live import Live

    from led_pipeline.watch import run_file, view
    from led_pipeline.watch.remaining import Remaining, read_estimates, remaining
    from led_pipeline.watch.state import RunState, Tracker

    path = run_file.of_results(results)
    tracker = Tracker(run_file.read(path))
    console = Console()

    def look() -> tuple[RunState, Remaining | None]:
        state = tracker.look()
        return state, remaining(state, read_estimates(run_file.estimates(path)))

    if not console.is_terminal:
        print("\n".join(view.plain(*look())))
        return
    if not follow:
        console.print(view.table(*look(), width=console.width))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            tracker.run = run_file.read(path)
            live.update(view.table(*look(), console.height, console.width), refresh=True)
            if tracker.over:
                return
            time.sleep(LOOK_S)
