"""The overview of results as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from led_pipeline.columns import aligned
from led_pipeline.files.atomic import size
from led_pipeline.inspection.overview import KINDS, Part, shown_measures
from led_pipeline.inspection.workflow import Freshness, Job, job_lines
from led_pipeline.report.text import number


def overview_text(result: Mapping[str, Any]) -> str:
    """Return the overview of `overview` as text."""
    return "\n\n".join(_blocks(result)) + "\n"


def _blocks(result: Mapping[str, Any]) -> Iterator[str]:
    counted = [f"{name} {'not prepared' if n is None else f'{n:,}'}" for name, n in result["counts"].items()]
    yield f"{result['results']}: dataset {result['dataset']} ({', '.join(counted)})"
    yield from (f"a run is in progress: {sentence}" for sentence in result["running"])
    yield aligned([["", *KINDS], *(_row(name, kinds) for name, kinds in result["parts"].items())])
    yield f"report: {'there' if result['report'] else 'missing'}"
    opened = result["sentence_transformers"]
    if opened:
        groups = {text: [name for name, other in opened.items() if other == text] for text in opened.values()}
        lines = [f"  {', '.join(names)}: {text}" for text, names in groups.items()]
        yield "\n".join(["opens with sentence-transformers:", *lines])
    for split, systems in result["evaluated"].items():
        if systems:
            names = shown_measures(list(systems.values()))
            rows = [[name, *(number(values.get(m)) for m in names)] for name, values in systems.items()]
            yield aligned([[split, *names], *rows])
    yield _sizes(result["bytes"], result["total_bytes"])
    state = result["freshness"]
    jobs = {kind: [Job(**job) for job in state[kind]] for kind in ("stale", "missing", "following")}
    parts = [Part(**part) for kinds in result["parts"].values() for part in kinds.values()]
    complete = all(part.present == part.expected for part in parts)
    yield freshness_text(Freshness(state["config"], state["unchecked"], **jobs), complete)


def _row(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name, *(_cell(Part(**kinds[kind])) if kind in kinds else "" for kind in KINDS)]


def _cell(part: Part) -> str:
    if part.present < part.expected:
        count = "missing" if part.present == 0 else f"{part.present} of {part.expected}"
        return part.remark or count
    return part.remark or "ok"


def _sizes(bytes_of: Mapping[str, int], total: int) -> str:
    rows = [[name, size(count)] for name, count in bytes_of.items() if count >= 1_000]
    return aligned([["folder", "size"], *rows, ["total", size(total)]])


def freshness_text(state: Freshness, complete: bool = True) -> str:
    """Return the sentences about what is out of date, never more than was checked.

    Args:
        complete: whether no file that the recipe needs is missing; Snakemake leaves one out if later files are there.
    """
    if state.unchecked:
        return f"up to date? Not checked: {state.unchecked}."
    lines = []
    if state.stale:
        lines.append(f"out of date, Snakemake would make them again ({_jobs(state.stale)}):")
        lines += [f"  {line}" for line in job_lines(state.stale)]
    if state.missing:
        lines.append(f"not made yet ({_jobs(state.missing)}):")
        lines += [f"  {line}" for line in job_lines(state.missing, 4, reasons=False)]
    if state.following:
        lines.append(f"and {_jobs(state.following)} that follow from these")
    if not lines:
        lines = ["up to date: Snakemake would run no job"]
        if not complete:
            lines = [
                "Snakemake would run no job, since later files are there; to make a missing file, name it as target"
            ]
    lines.append(f"Compared with {state.config}; --configfile names a config that you changed since.")
    return "\n".join(lines)


def _jobs(jobs: Sequence[Job]) -> str:
    return f"{len(jobs):,} job{'s' if len(jobs) != 1 else ''}"
