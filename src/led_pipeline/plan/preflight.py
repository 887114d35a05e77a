"""Preflight: the plan and the checks of a recipe on this machine, printed, and kept as JSON by the rule of that name.

Run as `python -m led_pipeline.plan.preflight --recipe JSON --results DIR --sources FILE --published FILE
--executor NAME [--gpu-limit N] [--out FILE]`. The exit status is 1 if something would stop the run, unless
LED_PREFLIGHT=warn is set.

GPUs are looked for on this machine where jobs run on it. They do not where Snakemake hands them to another executor
(SLURM), nor where LED_GPUS=elsewhere is set, for instance to prepare data on a machine without a GPU.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from led_pipeline.fetch.sources import read_source
from led_pipeline.files.atomic import size, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.plan import machine
from led_pipeline.plan.checks import Finding, Site, findings
from led_pipeline.plan.jobs import Needs, source_files
from led_pipeline.plan.table import Estimate, estimate, text
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe, trained_in

HERE = ("local", "dryrun", "touch")  # executors that run jobs on this machine


def elsewhere(executor: str) -> bool:
    """Return whether GPU jobs run on other machines than this one.

    Raises:
        InputError: LED_GPUS has a value without meaning.
    """
    named = os.environ.get("LED_GPUS", "")
    if named not in ("", "here", "elsewhere"):
        raise InputError(f"LED_GPUS: '{named}' is neither 'here' nor 'elsewhere'")
    return named == "elsewhere" or (named != "here" and executor not in HERE)


def download_bytes(recipe: Recipe, sources: Path) -> int:
    """Return the bytes of the published files as they are served, each once, as far as they are known."""
    served: dict[str, int] = {}
    if recipe.dataset.source == "download":
        for name in source_files(recipe, Needs.of(recipe)):
            try:
                entry = read_source(sources, name)
            except InputError:  # the checks say so
                continue
            served[entry.url[0]] = entry.bytes or 0
    return sum(served.values())


def look(recipe: Recipe, site: Site) -> tuple[Estimate, list[Finding]]:
    """Return the estimate and the findings."""
    name = site.gpus[0].name if site.gpus else None
    made = estimate(recipe, site.results, name, site.limit, download_bytes(recipe, site.sources))
    return made, findings(recipe, site, made)


def report(recipe: Recipe, site: Site, made: Estimate, found: list[Finding]) -> str:
    """Return what is printed."""
    gpus = ", ".join(f"{gpu.name or 'GPU'} {size(gpu.memory or 0)}" for gpu in site.gpus) or "no GPU"
    width = max(len(finding.subject) for finding in found)
    checks = [f"{finding.level:5}  {finding.subject.ljust(width)}  {finding.text}" for finding in found]
    fatal = sum(finding.level == "fatal" for finding in found)
    end = f"{fatal} of these would stop the run; mend them and start again" if fatal else "nothing stands in the way"
    here = f"this machine: {machine.cores()} cores, {size(machine.memory())} memory, {gpus}"
    return "\n".join([f"dataset {recipe.dataset.name}: {text(made)}", here, "", *checks, "", end])


def status(found: list[Finding]) -> int:
    """Return the exit status: 1 if a finding would stop the run and only a warning is not asked for."""
    return int(any(f.level == "fatal" for f in found) and os.environ.get("LED_PREFLIGHT") != "warn")


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimate a recipe and check this machine.")
    parser.add_argument("--recipe", required=True, type=json.loads, help="the config as JSON")
    parser.add_argument("--results", required=True, type=Path, help="results of the dataset")
    parser.add_argument("--sources", required=True, type=Path)
    parser.add_argument("--published", required=True, type=Path)
    parser.add_argument("--executor", default="local", help="what Snakemake runs jobs with")
    parser.add_argument("--gpu-limit", type=int, help="no job gets more GPUs (snakemake --resources gpu=N)")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    recipe = load_recipe(a.recipe, trained=lambda _: trained_in(a.results), quiet=True)  # the workflow printed its note
    site = Site(a.results, a.sources, a.published, elsewhere(a.executor), a.gpu_limit)
    made, found = look(recipe, site)
    print(report(recipe, site, made, found))
    if code := status(found):
        sys.exit(code)
    if a.out is None:
        return
    estimated = {"gpu_hours": made.gpu_hours, "gpu": made.gpu, "disk_peak_bytes": made.peak}
    write_json(a.out, {"estimate": estimated, "findings": [asdict(finding) for finding in found]})


if __name__ == "__main__":
    run_main(main)
