"""Schedule: the wall time of a recipe on some GPUs, by the number of GPUs of each training.

The jobs of the recipe are placed as Snakemake places them: each as soon as those that it waits for have ended and there
is room for it, the one before the longest chain of trainings first. Few GPUs per training leave room for trainings that
do not need each other; many make each of them shorter, but less than in proportion.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from led_pipeline.columns import aligned
from led_pipeline.jobs.placement import makespan
from led_pipeline.plan import assumptions, lexicon_search
from led_pipeline.plan.compute import Computer, Speed
from led_pipeline.plan.job_graph import TRAININGS, JobGraph, Task
from led_pipeline.plan.stage_models import StageModel
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import TrainingResources

WORTH_IT = 0.97  # more GPUs per training, or a mixed layout, must take less than this share of the time
Models = dict[str, StageModel]
Trainings = Mapping[str, int]  # stage -> GPUs of its training


@dataclass(frozen=True)
class Layout:
    """GPUs per training, and what a run with them takes."""

    gpus: int
    """those of the machine"""
    trainings: Trainings
    seconds: float
    """from the first job to the last"""
    gpu_seconds: float

    @property
    def uniform(self) -> int | None:
        """The number of GPUs that all trainings get, if it is one."""
        numbers = set(self.trainings.values())
        return numbers.pop() if len(numbers) == 1 else None


def processor_s(recipe: Recipe, load: Workload, models: Models, rule: str, owner: str, queries: int) -> float:
    """Return the seconds of one thread that a job on the processor takes, 0 where there is no estimate.

    Args:
        owner: the stage or system that computes.
        queries: the number of its queries.
    """
    if rule in ("impact_index", "impact_search"):
        return lexicon_search.job_s(recipe.search.lexicon_engine, rule, models[owner], load, queries)
    per_passage, per_pair = assumptions.PROCESSOR_S.get(rule, (0, 0))
    return load.passages * (per_passage + per_pair * queries)


class Planner:
    """Places the jobs of a recipe on machines with some number of GPUs."""

    def __init__(self, recipe: Recipe, load: Workload, models: Models, speed: Speed, cores: int):
        self.recipe, self.cores = recipe, cores
        computer = Computer(recipe, load, models, speed)
        self._costs = computer.all()
        self._tasks = JobGraph(
            recipe, self._costs, computer.gpus, partial(processor_s, recipe, load, models), load.queries
        ).build()
        self._train_s = {
            gpus: {
                name: cost.jobs[rule][0]
                for name, cost in Computer(recipe, load, models, speed, trainings=gpus).all().items()
                for rule in TRAININGS
                if rule in cost.jobs
            }
            for gpus in assumptions.LAYOUTS
        }

    def layouts(self, gpus: int) -> tuple[list[Layout], Layout]:
        """Return the layouts with the same number of GPUs for every training, and the one that is recommended."""
        uniform = [
            self._placed(gpus, dict.fromkeys(self.recipe.trainings, each))
            for each in assumptions.LAYOUTS
            if each <= gpus and all(each in self._choices(name, gpus) for name in self.recipe.trainings)
        ]
        fastest = min(layout.seconds for layout in uniform)
        best = min((each for each in uniform if WORTH_IT * each.seconds <= fastest), key=lambda each: each.gpu_seconds)
        mixed = self._mixed(best)
        return uniform, mixed if mixed.seconds < WORTH_IT * best.seconds else best

    def _choices(self, name: str, gpus: int) -> list[int]:
        """Return the numbers of GPUs that a stage's batch can be split over."""
        batch_size = self.recipe.started(name).batch_size
        return [each for each in assumptions.LAYOUTS if each <= gpus and batch_size % each == 0]

    def _mixed(self, start: Layout) -> Layout:
        """Return the best layout that changes the GPUs of one training after another, until no change helps."""
        best, before = start, None
        while best != before:
            before = best
            for name in self.recipe.trainings:
                options = [
                    self._placed(start.gpus, {**best.trainings, name: each})
                    for each in self._choices(name, start.gpus)
                    if each != best.trainings[name]
                ]
                best = min([best, *options], key=lambda layout: (layout.seconds, layout.gpu_seconds))
        return best

    def keys_of(self, layout: Layout) -> Iterator[str]:
        """Yield the lines of a recipe that say a layout."""
        numbers = list(layout.trainings.values())
        common = max(sorted(set(numbers), reverse=True), key=numbers.count)
        others = {name: gpus for name, gpus in layout.trainings.items() if gpus != common}
        yield f"  resources.train: {_yaml(self.recipe.resources.train, common)}"
        for name, gpus in others.items():
            yield f"  stages.{name}.resources: {_yaml(self.recipe.training(name), gpus)}"

    def _placed(self, gpus: int, trainings: Trainings) -> Layout:
        tasks = [self._with(task, trainings) for task in self._tasks]
        seconds = {task.id: task.seconds for task in tasks}
        priority = {task.id: float(task.priority) for task in tasks}
        gpu_seconds = sum(min(task.gpus, gpus) * task.seconds for task in tasks)
        return Layout(gpus, trainings, makespan(tasks, seconds, (), self.cores, gpus, priority), gpu_seconds)

    def _with(self, task: Task, trainings: Trainings) -> Task:
        if task.rule not in TRAININGS:
            return task
        gpus = trainings[task.owner]
        seconds = self._train_s[gpus][task.owner]
        return replace(task, gpus=gpus, threads=assumptions.THREADS_PER_GPU * gpus, seconds=seconds)


def text(planner: Planner, gpu: str, counts: Sequence[int]) -> str:
    """Return the wall time of a recipe on machines with some numbers of GPUs, under several layouts."""
    rows = [("GPUs", "per training", "wall h", "GPU h", "")]
    advice: list[str] = []
    for gpus in counts:
        uniform, best = planner.layouts(gpus)
        layouts = [*uniform, best] if best.uniform is None else uniform
        rows += [_row(layout, layout == best) for layout in layouts]
        advice += [f"in the recipe for {gpus} GPU{'s' if gpus > 1 else ''}:", *planner.keys_of(best), ""]
    title = f"wall time by GPUs per training, with {gpu} and {planner.cores} cores, without downloads and preparing:"
    return "\n".join([title, "", aligned(rows, left=0), "", *advice]).rstrip()


def _yaml(resources: TrainingResources, gpus: int) -> str:
    """Return the resources of a training with some number of GPUs, as YAML."""
    values = resources.model_dump(mode="json", exclude_defaults=True)
    values = {"gpu": gpus, "threads": assumptions.THREADS_PER_GPU * gpus} | {
        key: value for key, value in values.items() if key not in ("gpu", "threads")
    }
    return f"{{{', '.join(f'{key}: {json.dumps(value)}' for key, value in values.items())}}}"


def _row(layout: Layout, is_best: bool) -> tuple[str, str, str, str, str]:
    per_training = "mixed" if layout.uniform is None else str(layout.uniform)
    wall, used = f"{layout.seconds / 3600:,.1f}", f"{layout.gpu_seconds / 3600:,.1f}"
    return str(layout.gpus), per_training, wall, used, "recommended" if is_best else ""
