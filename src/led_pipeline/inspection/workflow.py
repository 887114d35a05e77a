"""Ask the workflow: Snakemake as a program of its own, its dry run, and the runs in progress."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from led_pipeline.files.errors import InputError
from led_pipeline.jobs.run_lock import OtherRun

FOLLOWS = "Input files updated by another job"
MISSING = "Missing output files"
_LONGEST = 300  # characters of a reason


@dataclass(frozen=True)
class Job:
    """A job that Snakemake would run, and why."""

    rule: str
    outputs: list[str]
    reason: str


@dataclass(frozen=True)
class Freshness:
    """What Snakemake's dry run says about results."""

    config: str
    """The config that results were compared with."""
    unchecked: str | None = None
    """Why there was no dry run; None if there was one."""
    stale: list[Job] = field(default_factory=list)
    """Jobs that would replace existing files, with a reason of their own."""
    missing: list[Job] = field(default_factory=list)
    """Jobs whose output is not there."""
    following: list[Job] = field(default_factory=list)
    """Jobs that run only because an earlier one does."""


def snakefile(directory: Path) -> Path:
    """Return the workflow: beside results/, or else that of the source tree.

    Raises:
        InputError: there is none.
    """
    candidates = [directory / "Snakefile", Path(__file__).parents[3] / "Snakefile"]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    raise InputError(
        f"{candidates[0].absolute()}: no Snakefile there, and led is not installed from a source tree"
        " (pip install -e); run it in a clone of the project"
    )


def command(directory: Path, config: Path, *arguments: str) -> list[str]:
    """Return the command line of Snakemake for a config; the targets come first among the arguments."""
    fixed = ["--snakefile", str(snakefile(directory)), "--directory", str(directory), "--configfile", str(config)]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed]


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a Snakemake: its jobs find this Python first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PATH": path, "PYTHONUTF8": "1"} | changes


def dry_run(directory: Path, config: Path) -> Freshness:
    """Return what Snakemake would run to bring the results of a config up to date."""
    compared = str(config)
    line = command(directory, config.absolute(), "led_final", "--dry-run", "--cores", "1", "--nocolor")
    done = subprocess.run(line, capture_output=True, encoding="utf-8", errors="replace", env=environment())
    if done.returncode:
        lines = [each.strip() for each in (done.stderr or done.stdout).splitlines() if each.strip()]
        lines = [each for each in lines if not each.startswith("Using workflow specific profile")]
        return Freshness(compared, f"Snakemake's dry run failed: {lines[-1] if lines else 'without a message'}")
    jobs = [job for job in jobs_of(done.stdout + done.stderr) if job.outputs]
    following = [job for job in jobs if job.reason.startswith(FOLLOWS)]
    missing = [job for job in jobs if job.reason.startswith(MISSING)]
    stale = [job for job in jobs if not job.reason.startswith((FOLLOWS, MISSING))]
    return Freshness(compared, None, stale, missing, following)


def jobs_of(text: str) -> list[Job]:
    """Return the jobs that the output of a dry run lists."""
    jobs = []
    for block in re.split(r"^(?=(?:local)?rule \w+:$)", text, flags=re.MULTILINE)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)
        values = {
            name: match[1] for name in ("output", "reason") if (match := re.search(rf"^    {name}: (.*)$", block, re.M))
        }
        outputs = [re.sub(r" \(\w+\)$", "", each) for each in filter(None, values.get("output", "").split(", "))]
        reason = values.get("reason", "no reason given")
        reason = reason if len(reason) <= _LONGEST else reason[:_LONGEST] + " ..."
        jobs.append(Job(rule[1] if rule else "", outputs, reason))
    return jobs


def running(directory: Path, dataset: str) -> list[str]:
    """Return a sentence about every run on a dataset that may be in progress."""
    others = [OtherRun(path) for path in sorted((directory / ".snakemake" / "led").glob(f"{dataset}.*.run"))]
    return [
        f"process {other.process} on {other.host}" + ("" if other.on_this_machine else ", which cannot be checked here")
        for other in others
        if not other.ended
    ]


def freshness(folder: Path, dataset: str, config: Path | None, recorded: Path, check: bool) -> Freshness:
    """Return whether results are up to date, as far as Snakemake can tell.

    Args:
        config: the user's config; by default the recipe that the latest run recorded.
        check: whether to run Snakemake.
    """
    resolved = folder.resolve()
    directory, used = resolved.parents[1], config or recorded
    if not check:
        return Freshness(str(used), "it was not asked (--no-check)")
    if (resolved.parent.name, resolved.name) != ("results", dataset):
        why = f"Snakemake knows these results as results/{dataset}, and this folder is {folder}"
        return Freshness(str(used), f"{why}; a copy cannot be checked")
    if not (directory / ".snakemake").is_dir():
        why = f"{directory}/.snakemake, Snakemake's record of what made each file, is not there"
        return Freshness(str(used), why)
    return dry_run(directory, used)


def job_lines(jobs: Sequence[Job], count: int = 8, reasons: bool = True) -> list[str]:
    """Return a line per job: what it makes and why; only the first `count`."""
    lines = []
    for job in jobs[:count]:
        files = ", ".join(job.outputs[:2]) + (", ..." if job.outputs[2:] else "")
        lines.append(f"{job.rule}: {files}" + (f" ({job.reason})" if reasons else ""))
    return lines + ([f"... and {len(jobs) - count} more"] if len(jobs) > count else [])
