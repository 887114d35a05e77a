"""Preflight: the plan and the checks of a recipe on this machine, printed, and kept as JSON by the rule of that name.

Run as `python -m led_pipeline.plan.preflight --recipe JSON --results DIR --sources FILE --published FILE
--executor NAME [--gpu-limit N] [--estimates FILE] [--out FILE]`. The exit status is 1 if something would stop the
run, unless LED_PREFLIGHT=warn is set.

GPUs are looked for on this machine where jobs run on it. They do not where Snakemake hands them to another executor
(SLURM), nor where LED_GPUS=elsewhere is set, for instance to prepare data on a machine without a GPU.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from led_pipeline.fetch.sources import read_source
from led_pipeline.files.atomic import size, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.plan import assumptions, machine, schedule
from led_pipeline.plan.checks import findings
from led_pipeline.plan.compute import Speed
from led_pipeline.plan.finding import Finding
from led_pipeline.plan.gpu_checks import requested_gpus
from led_pipeline.plan.jobs import source_files
from led_pipeline.plan.site import Site
from led_pipeline.plan.starts import look_at_starts
from led_pipeline.plan.table import Estimate, estimate, text
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe, trained_in

HERE = ("local", "dryrun", "touch")  # executors that run jobs on this machine


def elsewhere(executor: str) -> bool:
    """Return whether GPU jobs run on other machines than this one.

    Raises:
        InputError: LED_GPUS has a value without meaning.
    """
    place = os.environ.get("LED_GPUS", "")
    if place not in ("", "here", "elsewhere"):
        raise InputError(f"LED_GPUS: '{place}' is neither 'here' nor 'elsewhere'")
    return place == "elsewhere" or (place != "here" and executor not in HERE)


def download_bytes(recipe: Recipe, sources: Path) -> int:
    """Return the bytes of the published files as they are served, each once, as far as they are known."""
    served: dict[str, int] = {}
    if recipe.dataset.source == "download":
        for name in source_files(recipe):
            try:
                entry = read_source(sources, name)
            except InputError:  # the checks say so
                continue
            served[entry.url[0]] = entry.bytes or 0
    return sum(served.values())


@dataclass(frozen=True)
class Outlook:
    """What can be said about a recipe on a machine before it runs."""

    recipe: Recipe
    """as its jobs will understand it, with the keys that stages take from the models that they start from"""
    cost: Estimate
    findings: list[Finding]


def look(recipe: Recipe, site: Site) -> Outlook:
    """Return the estimate and the findings."""
    name = site.gpus[0].name if site.gpus else None
    starts = look_at_starts(recipe, site.results)
    whole = starts.recipe if not starts.faults else recipe
    cost = estimate(whole, site.results, name, site.limit, download_bytes(recipe, site.sources))
    return Outlook(whole, cost, [*findings(whole, site, cost), *starts.findings()])


def wall_times(outlook: Outlook, site: Site, counts: list[int]) -> str:
    """Return the wall time on machines with some numbers of GPUs: by default those here, or as many as a job asks for.

    It is empty where trainings use no GPU, or several nodes.
    """
    recipe = outlook.recipe
    trainings = [recipe.training(name) for name in recipe.trainings]
    if not all(each.gpu and each.nodes == 1 for each in trainings) or not trainings or 0 in counts:
        return ""
    counts = counts or [len(site.gpus) or max(requested_gpus(recipe, None).values())]
    gpu = Speed.by_name(site.gpus[0].name if site.gpus else None)
    cores = machine.cores() if site.gpus else assumptions.SERVER_CORES
    planner = schedule.Planner(recipe, outlook.cost.load, dict(outlook.cost.models), gpu, cores)
    return schedule.text(planner, str(gpu), counts)


def report(outlook: Outlook, site: Site, walls: str = "") -> str:
    """Return the text that is printed; `walls` is a table of wall times."""
    results = outlook.findings
    gpus = ", ".join(f"{gpu.name or 'GPU'} {size(gpu.memory or 0)}" for gpu in site.gpus) or "no GPU"
    width = max(len(finding.subject) for finding in results)
    checks = [f"{finding.level:5}  {finding.subject.ljust(width)}  {finding.text}" for finding in results]
    fatal = sum(finding.level == "fatal" for finding in results)
    end = f"{fatal} of these would stop the run; fix them and rerun" if fatal else "nothing prevents a run"
    computer = f"this machine: {machine.cores()} cores, {size(machine.memory())} memory, {gpus}"
    estimated = [f"dataset {outlook.recipe.dataset.name}: {text(outlook.cost)}", *(["", walls, ""] if walls else [])]
    return "\n".join([*estimated, computer, "", *checks, "", end])


def status(results: list[Finding]) -> int:
    """Return the exit status: 1 if a finding would stop the run and only a warning is not asked for."""
    return int(any(f.level == "fatal" for f in results) and os.environ.get("LED_PREFLIGHT") != "warn")


def seconds_by_rule(cost: Estimate) -> dict[str, dict[str, float]]:
    """Return the estimated seconds of one job by its rule and by the stage or system that computes."""
    seconds: dict[str, dict[str, float]] = {}
    for row in cost.rows:
        for rule, (total, jobs) in row.cost.jobs.items():
            if jobs:
                seconds.setdefault(rule, {})[row.name] = round(total / jobs, 1)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimate a recipe and check this machine.")
    parser.add_argument("--recipe", required=True, type=json.loads, help="the config as JSON")
    parser.add_argument("--results", required=True, type=Path, help="results of the dataset")
    parser.add_argument("--sources", required=True, type=Path)
    parser.add_argument("--published", required=True, type=Path)
    parser.add_argument("--executor", default="local", help="what Snakemake runs jobs with")
    parser.add_argument("--gpu-limit", type=int, help="no job gets more GPUs (snakemake --resources gpu=N)")
    parser.add_argument("--estimates", type=Path, help="the estimated seconds of jobs, for the view of the run")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, trained=lambda _: trained_in(arguments.results), quiet=True)
    site = Site(
        arguments.results, arguments.sources, arguments.published, elsewhere(arguments.executor), arguments.gpu_limit
    )
    outlook = look(recipe, site)
    print(report(outlook, site))
    if code := status(outlook.findings):
        sys.exit(code)
    cost = outlook.cost
    if arguments.estimates:
        write_json(arguments.estimates, {"gpu": cost.gpu, "seconds": seconds_by_rule(cost)})
    if arguments.out is None:
        return
    estimated = {"gpu_hours": cost.gpu_hours, "gpu": cost.gpu, "disk_peak_bytes": cost.peak}
    write_json(arguments.out, {"estimate": estimated, "findings": [asdict(finding) for finding in outlook.findings]})


if __name__ == "__main__":
    run_main(main)
