"""The jobs of a run: when each ran, how long, and what it took, from the files that jobs leave.

Snakemake's benchmark of a job says its seconds, memory and processor time, and the date of that file is the job's end.
Where there is none, the log of a training and the note of an encoding say their own seconds. What no file says is None.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from led_pipeline.files.reading import read_json
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.report.log import TrainLog

MEGABYTE = 1 << 20  # Snakemake's unit of memory
PAUSE_S = 600  # a longer time in which no job ran belongs to no run: it was stopped and started again


@dataclass(frozen=True)
class Job:
    """One job of a run."""

    name: str
    """That of its log, such as train/led."""
    seconds: float
    end: float
    """Seconds since 1970."""
    memory_bytes: float | None = None
    """Largest resident memory of its processes together."""
    processor_seconds: float | None = None
    gpus: int | None = None
    """Number of GPUs that it computed on; None if it left no note."""

    @property
    def step(self) -> str:
        """Return the kind of work, such as train."""
        return self.name.partition("/")[0]

    @property
    def subject(self) -> str:
        """Return what the work is about: a stage, a system, a split or a tokenizer; empty for one of its kind."""
        return self.name.partition("/")[2].partition(".")[0]

    @property
    def gpu_hours(self) -> float | None:
        return None if self.gpus is None else self.seconds * self.gpus / 3600


def jobs(recipe: Recipe, results: Path, logs: Mapping[str, TrainLog]) -> list[Job]:
    """Return the jobs that files tell of, in the order in which they began."""
    layout = Layout(results)
    gpus = dict(_gpus(recipe, layout))
    done = {job.name: job for job in _benchmarked(Path(layout.benchmarks), gpus)}
    for job in _noted(recipe, layout, logs, gpus):
        done.setdefault(job.name, job)
    return sorted(done.values(), key=lambda job: (job.end - job.seconds, job.name))


def _benchmarked(folder: Path, gpus: Mapping[str, int]) -> Iterator[Job]:
    for path in sorted(folder.rglob("*.tsv")) if folder.is_dir() else []:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        seconds = _number(rows[-1].get("s")) if rows else None
        if seconds is None:
            continue
        memory = _number(rows[-1].get("max_rss"))
        name = path.relative_to(folder).with_suffix("").as_posix()
        yield Job(
            name,
            seconds,
            path.stat().st_mtime,
            None if memory is None else memory * MEGABYTE,
            _number(rows[-1].get("cpu_time")),
            gpus.get(name),
        )


def _number(text: str | None) -> float | None:
    """Return a number of a benchmark; a job that was too short to be measured has NA or a dash."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _encodings(recipe: Recipe, layout: Layout) -> Iterator[tuple[str, Path, str]]:
    """Yield the name of every job that may encode a shard of the collection, its note and its stage."""
    for stage in needs.order(recipe):
        suffix = "npy" if recipe.stages[stage].output == "dense" else "arrow"
        for shard in range(recipe.dataset.shards):
            yield f"encode/{stage}.passages.{shard}.{suffix}", Path(layout.encoding_note(stage, shard)), stage


def _gpus(recipe: Recipe, layout: Layout) -> Iterator[tuple[str, int]]:
    """Yield the GPUs that jobs computed on, by the name of the job, where they left a note."""
    for stage in needs.order(recipe):
        path = Path(layout.model_machine(stage))
        if path.exists():
            machine = read_json(path)
            yield f"train/{stage}", machine["processes"] if machine["gpu"] else 0
    for name, path, _ in _encodings(recipe, layout):
        if path.exists():
            note = read_json(path)
            yield name, note["processes"] if note["device"] == "cuda" else 0


def _noted(recipe: Recipe, layout: Layout, logs: Mapping[str, TrainLog], gpus: Mapping[str, int]) -> Iterator[Job]:
    for stage, log in logs.items():
        seconds = (log.finished or {}).get("seconds")
        if seconds is not None:
            name = f"train/{stage}"
            yield Job(name, seconds, Path(layout.train_log(stage)).stat().st_mtime, gpus=gpus.get(name))
    for name, path, _ in _encodings(recipe, layout):
        if path.exists():
            yield Job(name, read_json(path)["seconds"], path.stat().st_mtime, gpus=gpus.get(name))


def dates_are_true(done: list[Job]) -> bool:
    """Return whether the dates of the files can be the ends of the jobs.

    A copy of a folder may give all files the date of the copy. Then the ends are close together although some jobs took
    much longer.
    """
    if len(done) < 2:
        return False
    ends = [job.end for job in done]
    return max(ends) - min(ends) >= max(job.seconds for job in done) * 0.1


def without_pauses(done: list[Job]) -> tuple[list[Job], float]:
    """Return the jobs, in the order of `jobs`, as if the run had never been stopped, and the seconds left out.

    A time of more than `PAUSE_S` in which no job ran is left out, with all that comes after it moved forward.
    """
    moved: list[Job] = []
    left_out, busy_until = 0.0, None
    for job in done:
        begin = job.end - job.seconds
        if busy_until is not None and begin - busy_until > PAUSE_S:
            left_out += begin - busy_until
        busy_until = max(job.end, busy_until or job.end)
        moved.append(replace(job, end=job.end - left_out))
    return moved, left_out


def frame(done: list[Job]) -> pd.DataFrame:
    """Return the jobs as rows with their begin and end in seconds since the first one began."""
    done, _ = without_pauses(done)
    zero = min(job.end - job.seconds for job in done)
    rows: list[dict[str, Any]] = [
        {
            "job": job.name,
            "step": job.step,
            "row": f"{job.step} {job.subject}".strip(),
            "begin": job.end - job.seconds - zero,
            "end": job.end - zero,
            "seconds": job.seconds,
            "memory": job.memory_bytes,
            "gpus": job.gpus,
        }
        for job in done
    ]
    return pd.DataFrame(rows)


def totals(done: list[Job]) -> dict[str, float | None]:
    """Return what the run took as a whole; None for what is not known of all its jobs that may use a GPU."""
    if not done:
        return dict.fromkeys(("jobs", "wall_seconds", "paused_seconds", "job_seconds", "gpu_hours", "memory_bytes"))
    hours = [job.gpu_hours for job in done if job.gpu_hours is not None]
    memory = [job.memory_bytes for job in done if job.memory_bytes is not None]
    moved, paused = without_pauses(done)
    first, last = min(job.end - job.seconds for job in moved), max(job.end for job in moved)
    return {
        "jobs": len(done),
        "wall_seconds": last - first if dates_are_true(done) else None,
        "paused_seconds": paused if dates_are_true(done) else None,
        "job_seconds": sum(job.seconds for job in done),
        "gpu_hours": sum(hours) if hours else None,
        "memory_bytes": max(memory, default=None),
    }


def by_stage(recipe: Recipe, results: Path, done: list[Job]) -> dict[str, dict[str, Any]]:
    """Return the costs of every stage: of its training and of all its other jobs; None where no file tells.

    - device, processes: what it was trained on. gpu_bytes, joules: the largest memory of a GPU and the energy of all
      GPUs during the training, as the devices tell.
    - train_seconds, gpu_hours, memory_bytes: of the training's job, start of the program included where Snakemake
      measured it.
    - encode_seconds, search_seconds: of the jobs that encode its texts, and that rank queries with it.
    """
    rows = {}
    for stage in needs.order(recipe):
        path = Path(Layout(results).model_machine(stage))
        machine = read_json(path) if path.exists() else {}
        of_stage = [job for job in done if job.subject == stage]
        training = next((job for job in of_stage if job.step in ("train", "masked_lm", "pretrain", "import")), None)

        def together(step: str, of_stage: list[Job] = of_stage) -> float | None:
            seconds = [job.seconds for job in of_stage if job.step == step]
            return sum(seconds) if seconds else None

        rows[stage] = {
            "device": machine.get("device"),
            "processes": machine.get("processes"),
            "gpu_bytes": machine.get("gpu_bytes"),
            "joules": machine.get("joules"),
            "train_seconds": training.seconds if training else None,
            "gpu_hours": training.gpu_hours if training else None,
            "memory_bytes": training.memory_bytes if training else None,
            "encode_seconds": together("encode"),
            "search_seconds": together("rankings"),
        }
    return rows
