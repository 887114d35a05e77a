"""Fetch what a recipe takes from elsewhere: the published files of its dataset, and models of the hub.

The workflow's own rules fetch them, so that locks and records are the same and a later run fetches nothing again. What
is wrong with this machine (GPUs, memory, Java) does not matter for a download: the checks before the run only warn, and
they are repeated when the run itself starts.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.fetch.hub import hub_models, slug
from led_pipeline.fetch.sources import read_source
from led_pipeline.files.atomic import size, tree_bytes
from led_pipeline.inspection.workflow import command, environment, snakefile
from led_pipeline.plan.jobs import source_files
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout

JOBS = 4  # downloads at the same time


@dataclass(frozen=True)
class Target:
    """Something to fetch."""

    name: str
    path: str
    """Relative to the parent of results/."""
    log: str
    """Of the job that fetches it."""


def targets(recipe: Recipe) -> list[Target]:
    """Return everything to fetch."""
    layout = Layout.of(recipe.dataset.name)
    files = source_files(recipe) if recipe.dataset.source == "download" else []
    models = [model.name for model in hub_models(recipe)]
    return [
        *(Target(f"file {name}", layout.source(name), layout.log(f"download/{name}")) for name in files),
        *(Target(f"model {name}", layout.hub(name), layout.log(f"hub/{slug(name)}")) for name in models),
    ]


def nothing_to_fetch(recipe: Recipe) -> str:
    """Return the sentence about a recipe that names nothing to fetch."""
    where = {
        "docstrings": "its dataset is made from the installed packages",
        "folder": f"its dataset is in {recipe.dataset.folder}",
        "download": "its dataset has no files",
    }
    return f"nothing to download: {where[recipe.dataset.source]}, and it names no model of a hub"


def download(recipe: Recipe, config: Path, directory: Path) -> int:
    """Fetch everything that is not there yet, and return the exit status of Snakemake.

    Raises:
        InputError: config/sources.yaml has no entry for a file, or there is no workflow.
    """
    sources = snakefile(directory).parent / "config" / "sources.yaml"
    for name in source_files(recipe) if recipe.dataset.source == "download" else []:
        read_source(sources, name)
    paths = [target.path for target in targets(recipe)]
    # The file of the checks stays: without it, a run would fetch everything again after its own checks.
    line = command(directory, config.absolute(), *paths, "--cores", str(JOBS), "--quiet", "rules")
    return subprocess.run(line, env=environment(LED_GPUS="elsewhere", LED_PREFLIGHT="warn")).returncode


def lines(recipe: Recipe, directory: Path) -> list[str]:
    """Return a line about everything that was to be fetched: where it is and its size, or why it is missing."""
    rows = []
    for target in targets(recipe):
        place, log = directory / target.path, directory / target.log
        if place.exists():
            rows.append(f"{target.name}: {target.path}, {size(tree_bytes(place))}")
        else:
            text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
            _, error, reason = text.rpartition("error: ")
            rows.append(f"{target.name}: missing" + (f"; {reason.strip()}" if error else ""))
    return rows
