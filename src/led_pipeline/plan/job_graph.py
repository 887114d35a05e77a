"""Job graph: the jobs of a recipe that take long, with what each waits for and its expected seconds.

It follows the edges in `recipe/needs`, as the rules do. Downloads, preparing, pools, draws and measures take minutes
and are left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from led_pipeline.plan.compute import Cost
from led_pipeline.recipe import needs, priorities, scorers
from led_pipeline.recipe.graph import JobKind, Recipe
from led_pipeline.recipe.stages import MaskedLm, Trained

KINDS: dict[str, JobKind] = {
    "train": "train",
    "masked_lm": "train",
    "encode_passages": "encode",
    "encode_queries": "encode",
    "score_with_ranker": "score",
    "rerank": "score",
    "dense_search": "search",
    "variant_search": "cpu",
    "bm25_index": "cpu",
    "bm25_search": "cpu",
    "impact_index": "cpu",
    "impact_search": "cpu",
}
TRAININGS = ("train", "masked_lm")
Jobs = tuple[int, ...]  # their numbers


@dataclass(frozen=True)
class Task:
    """A job of the recipe."""

    id: int
    after: Jobs
    rule: str
    owner: str
    """the stage or system that computes"""
    threads: int
    gpus: int
    seconds: float
    """what it is expected to take"""
    priority: int


@dataclass
class JobGraph:
    """Builds the jobs, each after those that it waits for."""

    recipe: Recipe
    costs: Mapping[str, Cost]
    gpus: Callable[[JobKind, str], int]
    """kind of job and stage -> the GPUs that it gets"""
    processor_s: Callable[[str, str, int], float]
    """rule, stage or system, and number of queries -> seconds of one thread"""
    queries: Mapping[str, int]
    """split -> number of queries"""
    tasks: list[Task] = field(default_factory=list)
    _jobs: dict[tuple[str, ...], Jobs] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chains = priorities.chains(self.recipe)

    def build(self) -> list[Task]:
        """Return the jobs behind `led_final`."""
        for name in self.recipe.trainings:
            self._model(name)
        for system, split in needs.evaluated(self.recipe):
            self._ranking(system, split)
        return self.tasks

    def _add(self, rule: str, owner: str, after: Iterable[int], priority: int, queries: int = 0) -> int:
        """Add a job, and return its number."""
        kind = KINDS[rule]
        gpus, threads = 0 if kind == "cpu" else self.gpus(kind, owner), self.recipe.job(kind, owner).threads
        if kind == "cpu":
            seconds = self.processor_s(rule, owner, queries) / threads
        else:
            total, count = self.costs[owner].jobs.get(rule, (0.0, 0))
            seconds = total / max(count, 1)
        number = len(self.tasks)
        self.tasks.append(Task(number, tuple(sorted(set(after))), rule, owner, threads, gpus, seconds, priority))
        return number

    def _once(self, make: Callable[..., Iterable[int]], *arguments: str) -> Jobs:
        """Return the jobs that a method adds, which it is called for once."""
        key = make.__name__, *arguments
        if key not in self._jobs:
            self._jobs[key] = tuple(make(*arguments))
        return self._jobs[key]

    def _model(self, name: str) -> Jobs:
        """Return the jobs after which the model of a stage is there."""
        return self._once(self._training, name)

    def _ranking(self, system: str, part: str) -> Jobs:
        """Return the jobs after which a system has ranked the queries of a split, or of a part of it."""
        return self._once(self._searches, system, part)

    def _vectors(self, name: str, split: str) -> Jobs:
        """Return the jobs after which the vectors of all passages, and of the queries of a split, are there."""
        if name not in self.recipe.retrievers:
            return ()
        return self._once(self._passages, name) + self._once(self._queries, name, split)

    def _training(self, name: str) -> Iterator[int]:
        recipe, stage = self.recipe, self.recipe.stages.get(name)
        if not isinstance(stage, Trained | MaskedLm):
            return
        starts = needs.sources(recipe, [name], "init", "query_init", "tokenizer")
        after = [job for start in starts for job in self._model(start)]
        priority = priorities.of_training(recipe, self._chains, name)
        if isinstance(stage, MaskedLm):
            yield self._add("masked_lm", name, after, priority)
            return
        if not stage.train:
            yield from after
            return
        drawn = [job for system in needs.sources(recipe, [name], "negatives") for job in self._ranking(system, "train")]
        for judge in scorers.judges(recipe, name):
            drawn = [*drawn, *self._scores(name, judge, drawn)]
        for teacher in needs.sources(recipe, [name], "teacher"):
            after += self._scores(name, teacher, drawn)
        if recipe.validation and recipe.validates_by_search(name):
            after += self._ranking(recipe.validation.system, needs.validation_part(recipe) or "")
        yield self._add("train", name, [*after, *drawn], priority)

    def _scores(self, student: str, teacher: str, drawn: list[int]) -> Iterable[int]:
        """Return the jobs after which a teacher's scores are there, or all that they are read from."""
        if teacher in self.recipe.fusion:
            return self._ranking(teacher, "train")
        if teacher not in self.recipe.with_output("scores"):
            return self._vectors(teacher, "train")
        priority = priorities.of_training(self.recipe, self._chains, student)
        after = [*drawn, *self._model(teacher)]
        return [self._add("score_with_ranker", teacher, after, priority) for _ in range(self.recipe.dataset.shards)]

    def _passages(self, name: str) -> Iterator[int]:
        after, priority = self._model(name), priorities.of_results(self.recipe, self._chains, name, None)
        for _ in range(self.recipe.dataset.shards):
            yield self._add("encode_passages", name, after, priority)

    def _queries(self, name: str, split: str) -> Iterator[int]:
        priority = priorities.of_results(self.recipe, self._chains, name, split)
        yield self._add("encode_queries", name, self._model(name), priority)

    def _searches(self, system: str, part: str) -> Iterator[int]:
        recipe, name = self.recipe, needs.stage_of(self.recipe, system)
        output = recipe.stages[name].output if name in recipe.stages else None
        priority = priorities.of_results(recipe, self._chains, system, part)
        sources = [edge.source for edge in needs.edges(recipe, system) if edge.kind in ("fused", "candidates")]
        ranked = [job for source in sources for job in self._ranking(source, part)]
        if output == "scores":
            yield self._add("rerank", name, [*self._model(name), *ranked], priority)
        elif output is None and system != "bm25":
            yield from ranked  # a fusion takes seconds, a run from elsewhere nothing
        else:
            rule, after = self._search_rule(system, name, part)
            parts = needs.query_parts(recipe, part, system)
            queries = self.queries.get(needs.split_of(part), 0) // len(parts)
            for _ in parts:
                yield self._add(rule, name, after, priority, queries)

    def _search_rule(self, system: str, name: str, part: str) -> tuple[str, Jobs]:
        """Return the rule that searches, and the jobs that it waits for."""
        vectors = self._vectors(name, needs.split_of(part))
        if system in self.recipe.variants:
            return "variant_search", vectors
        if name in self.recipe.with_output("dense"):
            return "dense_search", vectors
        kind = "bm25" if system == "bm25" else "impact"
        return f"{kind}_search", vectors + self._once(self._index, name, f"{kind}_index")

    def _index(self, name: str, rule: str) -> Iterator[int]:
        vectors = self._once(self._passages, name) if name in self.recipe.retrievers else ()
        yield self._add(rule, name, vectors, priorities.of_results(self.recipe, self._chains, name, None))
