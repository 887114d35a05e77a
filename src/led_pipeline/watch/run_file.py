"""The run file: the jobs of a run, written by the Snakefile before the first one, and how the run ended.

It is `logs/<dataset>/run.json`. Whoever reads it learns from the jobs' outputs and logs how far each is (`state`).
"""

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import JobKind, Recipe
from led_pipeline.recipe.layout import Layout

FIRST = "data"  # jobs of no stage: data before the models, ...
LAST = "evaluation"  # ... and measures and the report after them
LAST_RULES = ("run_file", "measure", "resolved_recipe", "report", "gate")
KINDS: dict[str, JobKind] = {  # rules whose jobs take more than one core, or GPUs: by `resources` of the recipe
    "train": "train",
    "pretrain": "train",
    "masked_lm": "train",
    "encode_passages": "encode",
    "encode_queries": "encode",
    "score_with_ranker": "score",
    "rerank": "score",
    "ranker_query_time": "score",
    "dense_search": "search",
    "variant_search": "search",
    "tokenise_passages": "cpu",
    "bm25_index": "cpu",
    "bm25_search": "cpu",
    "impact_index": "cpu",
    "impact_search": "cpu",
}
WITHOUT_GPU = ("pretrain", "variant_search")
Outcome = Literal["success", "failure"]


@dataclass(frozen=True)
class Job:
    """A job that the run has to do."""

    id: int
    """Its number in Snakemake."""
    rule: str
    stage: str
    """The stage or system that it works for; `data` or `evaluation` for those of none."""
    owner: str
    """The stage or system that computes: a teacher's scores are for a stage, but the teacher computes them."""
    part: str
    """Which of several such jobs of a stage it is, by a split, a shard or a file."""
    output: str
    """Its first output."""
    log: str
    after: tuple[int, ...] = ()
    """Numbers of jobs that must end before."""
    threads: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class RunFile:
    """A run of Snakemake."""

    results: str
    started: float
    """Seconds since the epoch."""
    host: str
    process: int
    stages: tuple[str, ...]
    """Stages and systems in the order of the recipe."""
    jobs: tuple[Job, ...]
    cores: int | None = None
    """Limits for jobs at the same time; None without a limit."""
    gpus: int | None = None
    executor: str | None = None
    """What Snakemake runs jobs with, such as local or slurm; None in records of older versions."""
    ended: float | None = None
    outcome: Outcome | None = None

    @property
    def left_jobs(self) -> bool:
        """Whether its Snakemake was killed and did not cancel the jobs, which another program runs."""
        return self.outcome is None and self.alive is False and self.executor not in (None, "local")

    @property
    def alive(self) -> bool | None:
        """Whether its Snakemake runs; None if that was started on another machine."""
        if self.ended is not None:
            return False
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def job_of(
    recipe: Recipe,
    rule: str,
    wildcards: Mapping[str, str],
    files: tuple[str, str],
    number: int,
    after: Iterable[int],
) -> Job:
    """Return a job of Snakemake.

    Args:
        files: its first output and its log.
        number, after: its number, and those of the jobs that must end before.
    """
    stage, system = wildcards.get("stage"), wildcards.get("system")
    owner = system or stage or ""
    group = LAST if rule in LAST_RULES else stage or system or FIRST
    part = " ".join(value for name, value in wildcards.items() if name != "suffix" and value not in (group, owner))
    threads = gpus = 0
    kind = "search" if rule == "impact_search" and recipe.search.lexicon_on_gpus else KINDS.get(rule)
    if kind:
        resources = recipe.job(kind, owner)
        nodes = recipe.training(owner).nodes if kind == "train" else 1
        threads, gpus = resources.threads, 0 if rule in WITHOUT_GPU else getattr(resources, "gpu", 0) * nodes
    return Job(number, rule, group, owner, part, *files, tuple(sorted(after)), max(1, threads), gpus)


def begin(
    path: Path,
    results: str,
    recipe: Recipe,
    jobs: Iterable[Job],
    cores: int | None,
    gpus: int | None,
    executor: str | None = None,
) -> RunFile:
    """Write the file of a run that starts now, and return its content; `cores` and `gpus` are its limits."""
    order = (*recipe.rankless, *needs.systems(recipe))
    in_order = tuple(sorted(jobs, key=lambda job: job.id))
    run = RunFile(results, time.time(), socket.gethostname(), os.getpid(), order, in_order, cores, gpus, executor)
    _write(path, run)
    return run


def _write(path: Path, run: RunFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, vars(run) | {"jobs": [vars(job) for job in run.jobs]})


def end(path: Path, run: RunFile, outcome: Outcome) -> RunFile:
    """Add to the file of a run that it has ended, and return its content."""
    run = replace(run, ended=time.time(), outcome=outcome)
    _write(path, run)
    return run


def of_results(results: Path) -> Path:
    """Return the run file of a results folder.

    Raises:
        InputError: there is no such folder.
    """
    if not results.is_dir():
        raise InputError(f"{results}: no such folder; name the results of a run, such as results/demo")
    folder = results.absolute()  # a symbolic link stays: logs/ is beside results/, not where it leads
    return Path(os.path.relpath(folder.parent.parent)) / Layout.of(folder.name).run_file


def estimates(path: Path) -> Path:
    """Return the file of estimates beside a run file."""
    return Path(Layout("", str(path.parent)).estimates)


def read(path: Path) -> RunFile:
    """Read a run file; the paths of its jobs are relative to the working directory of this process.

    Raises:
        InputError: there is none, or it is of another form.
    """
    if not path.is_file():
        raise InputError(f"{path}: no run was started here yet; start one with snakemake --cores all led_final")
    values: Any = read_json(path)
    place = path.parents[2]
    try:
        jobs = tuple(
            Job(**job | {name: str(place / job[name]) for name in ("output", "log")} | {"after": tuple(job["after"])})
            for job in values["jobs"]
        )
        return RunFile(**values | {"jobs": jobs, "stages": tuple(values["stages"])})
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}: expected the record of a run; the next run writes it again") from error
