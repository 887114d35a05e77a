"""View: a run as a table of its stages, for a terminal and as plain text."""

from collections import defaultdict
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from led_pipeline.jobs.progress import duration
from led_pipeline.watch.remaining import Remaining
from led_pipeline.watch.run_file import FIRST, LAST, RunFile
from led_pipeline.watch.state import JobState, RunState, StageState, Status

MARKS: dict[Status, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
}
BAR, NARROW_BAR = 20, 10  # columns
NARROW = 110  # columns of a terminal with narrow bars
TOGETHER = 2  # running jobs of a rule and stage with a row each; more share a row
WARNINGS = 3
PLAIN_WIDTH = 140


def bar_of(share: float, columns: int) -> Text:
    """Return a bar that can be read without colours, too; nothing as long as nothing is done."""
    done = round(columns * share)
    return Text("━" * done, style="cyan").append("─" * (columns - done), style="dim") if share else Text("")


def label(state: JobState) -> str:
    """Return a job's rule and which of several it is."""
    return f"{state.job.rule} {state.job.part}".strip()


def details(state: JobState) -> str:
    """Return how a running job goes: progress, remaining time, rate, loss, validation; narrow terminals cut the end."""
    parts = []
    if state.reached:
        parts += [f"{state.reached.done:,.10g}/{state.reached.total:,.10g} {state.reached.unit}".rstrip()]
        parts += [f"{duration(state.seconds_left)} left"] if state.seconds_left is not None else []
        parts += [state.reached.rate] if state.reached.rate else []
    parts += [f"loss {state.loss}"] if state.loss else []
    parts += [state.validation] if state.validation else []
    return "  ".join(parts)


def headline(state: RunState, remaining: Remaining | None = None) -> str:
    """Return one line about the whole run: jobs, GPUs, elapsed and remaining time."""
    done = sum(job.status == "done" for job in state.jobs)
    parts = [f"{done:,} of {len(state.jobs):,} jobs", f"{duration(state.elapsed)} elapsed"]
    if state.run.outcome == "success":
        return ", ".join([*parts, "finished"])
    if state.run.outcome == "failure" or state.run.alive is False:
        return ", ".join([*parts, _stopped(state.run)])
    if state.gpus:
        limit = "" if state.run.gpus is None else f" of {state.run.gpus}"
        parts.append(f"{state.gpus}{limit} GPUs in use")
    if remaining:
        parts.append(f"{'at least' if remaining.unknown else 'about'} {duration(remaining.seconds)} left")
    else:
        parts.append("remaining time not known yet")
    return ", ".join(parts)


def _stopped(run: RunFile) -> str:
    """Return that a run does not go on, and what to do."""
    if not run.left_jobs:
        return "stopped; run the same command again to continue"
    where = "squeue --me shows them" if run.executor == "slurm" else f"they were given to {run.executor}"
    return f"killed, but its jobs may still run ({where}); cancel them, then run the same command again to continue"


def failures(state: RunState) -> Iterator[str]:
    """Yield two lines per failed job: the reason first, then where its log is."""
    for each in state.jobs:
        if each.status == "failed":
            yield from failure(each)


def failure(state: JobState) -> tuple[str, str]:
    """Return two lines about a failed job: the reason first, then where its log is."""
    stage = "" if state.job.stage in (FIRST, LAST) else f" of {state.job.stage}"
    return f"failed: {label(state)}{stage}: {state.error or 'it left no message'}", f"        log: {state.job.log}"


def _running_rows(stage: StageState, now: float) -> Iterator[tuple[str, float, str, str]]:
    """Yield name, share, time and details of the running jobs; many of one rule share a row."""
    by_rule: dict[str, list[JobState]] = defaultdict(list)
    for each in stage.running:
        by_rule[each.job.rule].append(each)
    for rule, jobs in by_rule.items():
        if len(jobs) > TOGETHER:
            share = sum(each.share for each in jobs) / len(jobs)
            yield f"{rule} × {len(jobs)}", share, duration(max(each.seconds(now) for each in jobs)), ""
        else:
            yield from ((label(each), each.share, duration(each.seconds(now)), details(each)) for each in jobs)


def _stage_row(stage: StageState, now: float, bar: int) -> tuple[RenderableType, ...]:
    mark, style = MARKS[stage.status]
    share = sum(each.share for each in stage.jobs) / len(stage.jobs)
    seconds = stage.seconds(now)
    return (
        Text(mark, style=style),
        Text(stage.name, style="dim" if stage.status == "waiting" else "bold"),
        bar_of(share, bar),
        Text(_count(stage), style="dim"),
        Text(duration(seconds) if seconds else "", style="dim"),
        Text(""),
    )


def _count(stage: StageState) -> str:
    return f"{stage.count('done')}/{len(stage.jobs)}"


def _fitting(stages: list[StageState], lines: int) -> tuple[list[StageState], list[str]]:
    """Return the stages that get a row, and lines about the others: with too few lines, those that do not run."""
    if len(stages) <= lines:
        return stages, []
    together: dict[Status, list[str]] = {"done": [], "waiting": []}
    separate = []
    for stage in stages:
        together.get(stage.status, []).append(stage.name)
        if stage.status not in together:
            separate.append(stage)
    return separate, [f"{MARKS[status][0]} {status}: {', '.join(names)}" for status, names in together.items() if names]


def table(
    state: RunState, remaining: Remaining | None = None, height: int | None = None, width: int = PLAIN_WIDTH
) -> RenderableType:
    """Return the view of a run for a terminal.

    Args:
        height: its lines; stages that do not run share one where they are too few for all. None without a limit.
        width: its columns; what does not fit is cut off the details of running jobs.
    """
    bar = BAR if width >= NARROW else NARROW_BAR
    messages = [Text(line, style="yellow") for line in warnings(state)]
    messages += [Text(line, style="red") for line in failures(state)]
    rows = {stage.name: list(_running_rows(stage, state.now)) for stage in state.stages}
    busy = len(messages) + sum(map(len, rows.values())) + 2
    separate, others = _fitting(list(state.stages), len(state.stages) if height is None else height - busy)
    names = [stage.name for stage in separate] + [f"  {row[0]}" for stage in separate for row in rows[stage.name]]
    counts = max((len(_count(stage)) for stage in separate), default=0)
    columns = [1, min(max(map(len, names), default=0), width // 3), bar, counts, len("0:00:00")]
    grid = Table.grid(padding=(0, 1))
    for each in (*columns, max(1, width - sum(columns) - len(columns))):
        grid.add_column(no_wrap=True, overflow="ellipsis", width=each)
    for stage in separate:
        grid.add_row(*_stage_row(stage, state.now, bar))
        for name, share, seconds, text in rows[stage.name]:
            grid.add_row(
                Text(""), Text(f"  {name}"), bar_of(share, bar), Text(""), Text(seconds, style="dim"), Text(text)
            )
    heading = Text(f"{state.run.results}: {headline(state, remaining)}", style="bold")
    return Group(heading, grid, *(Text(line, style="dim") for line in others), *messages)


def warnings(state: RunState) -> list[str]:
    """Return the newest warning of each running job, such as those about the health of a training."""
    lines = [f"warning: {each.job.stage}: {each.warnings[-1]}" for each in state.jobs if each.warnings]
    return lines[-WARNINGS:]


def plain(state: RunState, remaining: Remaining | None = None) -> list[str]:
    """Return the view as lines of text."""
    console = Console(width=PLAIN_WIDTH, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table(state, remaining))
    return [line.rstrip() for line in capture.get().splitlines()]
