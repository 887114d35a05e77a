"""Compute: hours of each kind of GPU job per stage, and the GPU memory that they take."""

import math
import re
from dataclasses import dataclass, field

from led_pipeline.jobs.peaks import PEAK_TFLOPS, peak_tflops, short_name
from led_pipeline.plan import assumptions
from led_pipeline.plan.disk import judged_candidates, trained_examples
from led_pipeline.plan.jobs import Demand
from led_pipeline.plan.stage_models import StageModel
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe import needs, scorers
from led_pipeline.recipe.graph import JobKind, Recipe
from led_pipeline.recipe.stages import MaskedLm, Ranker, Trained

KINDS = ("train", "encode", "score", "search")


@dataclass(frozen=True)
class Speed:
    """FLOP/s of one device: a GPU, or a job's CPU threads."""

    gpu: str = assumptions.ASSUMED_GPU
    unknown: str | None = None
    """The name of a GPU whose peak is not known; that of `gpu` is assumed for it."""

    def __str__(self) -> str:
        return f"{self.gpu} (the peak of {self.unknown} is not known)" if self.unknown else self.gpu

    def of(self, gpus: int, threads: int, share: float) -> float:
        """Return what a job reaches on all its devices; a processor's figure is what it reaches already."""
        if gpus:
            return gpus * PEAK_TFLOPS[self.gpu] * 1e12 * share
        return threads * assumptions.CPU_GFLOPS * 1e9

    @classmethod
    def by_name(cls, name: str | None) -> "Speed":
        """Return the speed of a GPU by the name that nvidia-smi prints, or the assumed one's."""
        if not name:
            return cls()
        return cls(short_name(name)) if peak_tflops(name) else cls(unknown=name)


@dataclass
class Cost:
    """What a stage takes: hours of its jobs added up, GPU hours, and the bytes on the fullest GPU, by kind of job."""

    hours: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    gpu_hours: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    gpu_memory: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    jobs: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By rule: the seconds of its jobs added up, start-up included, and their number."""

    def add(self, kind: str, rule: str, jobs: int, seconds: float, gpus: int, memory: float) -> None:
        before = self.jobs.get(rule, (0.0, 0))
        start = 0 if gpus else jobs * assumptions.CPU_JOB_START_S
        self.jobs[rule] = before[0] + seconds + start, before[1] + jobs
        self.hours[kind] += seconds / 3600
        self.gpu_hours[kind] += gpus * seconds / 3600
        if gpus:
            self.gpu_memory[kind] = max(self.gpu_memory[kind], memory)


def _largest_mean(mean: float, texts: float) -> float:
    """Return the mean tokens of a text in the batch of a training that has most of them."""
    return mean * (1 + assumptions.LARGEST_BATCH * assumptions.LENGTH_SPREAD / math.sqrt(max(texts, 1)))


def tokens_of(text: str) -> float:
    """Return about how many tokens a prefix or a template makes; names of fields in braces are none."""
    return len(re.sub(r"\{\w+\}", "", text).encode()) / assumptions.BYTES_PER_TOKEN


def question(stage: Trained) -> float:
    """Return about how many tokens a ranker's prompt has around the texts."""
    return tokens_of(stage.template) if isinstance(stage, Ranker) and stage.scoring == "true_false" else 0


class Computer:
    """The cost of every stage of a recipe, on GPUs of one type.

    Args:
        limit: the most GPUs of one job.
        trainings: the GPUs of every training, instead of those that the recipe says.
    """

    def __init__(
        self,
        recipe: Recipe,
        load: Workload,
        models: dict[str, StageModel],
        speed: Speed,
        limit: int | None = None,
        trainings: int | None = None,
    ):
        self.recipe, self.load, self.models, self.speed, self.limit = recipe, load, models, speed, limit
        self.trainings = trainings
        self.demand = Demand.of(recipe)
        self.costs = {name: Cost() for name in ("bm25", *recipe.stages)}

    def all(self) -> dict[str, Cost]:
        """Return the cost of each stage, by name; BM25 needs no GPU and its cost is that of no stage."""
        for name in self.recipe.names("masked_lm"):
            self._masked_lm(name)
        for name in self.recipe.trained:
            self._train(name)
            self._score(name)
        for name in self.demand.vectors:
            self._encode(name)
        for name, split in sorted([*self.demand.rankings, *self.demand.validation]):
            self._rank(name, split)
        return self.costs

    def gpus(self, kind: JobKind, stage: str | None = None) -> int:
        count = self.trainings if kind == "train" and self.trainings else self.recipe.job(kind, stage).gpu
        return count if self.limit is None else min(count, self.limit)

    def _add(
        self,
        owner: str,
        kind: JobKind,
        rule: str,
        flops: float,
        share: float,
        jobs: int,
        memory: float,
        batches: float = 0,
    ) -> None:
        """Add jobs of a rule that share some FLOPs, start-up excluded, and compute these batches of a training."""
        job, gpus = self.recipe.job(kind, owner if kind == "train" else None), self.gpus(kind, owner)
        seconds = flops / self.speed.of(gpus, job.threads, share)
        if gpus:
            seconds = max(seconds, batches * assumptions.STEP_HOST_S) + jobs * assumptions.JOB_START_S
        else:
            seconds += batches * assumptions.STEP_OVERHEAD_S
        self.costs[owner].add(kind, rule, jobs, seconds, gpus, memory)

    def _lengths(self, name: str) -> tuple[float, float]:
        """Return the mean tokens of a query and a passage as a stage reads them, with prefixes and a question."""
        stage = self.recipe.model_stage(name)
        query = self.load.query_tokens + 2 + tokens_of(stage.query_prefix)
        passage = self.load.passage_tokens + 3 + tokens_of(stage.passage_prefix)
        return min(query, stage.query_length) + question(stage), min(passage, stage.passage_length)

    def _longest(self, name: str) -> tuple[float, float]:
        """Return the tokens of a query and a passage that are as long as they may be."""
        stage = self.recipe.model_stage(name)
        return stage.query_length + question(stage), stage.passage_length

    def _train(self, name: str) -> None:
        stage, model = self.recipe.model_stage(name), self.models[name]
        batches = self.load.batches(stage)
        candidates = stage.negatives_per_query + 1
        passages = stage.batch_size * candidates * (2 if getattr(stage, "dual_weight", 0) else 1)
        queries = stage.batch_size * (candidates if stage.output == "scores" else 1)  # one with every passage
        longest = self._longest(name)
        if model.shape.padded and stage.output != "scores" and len(model.shapes) == 1:
            longest = max(longest), max(longest)  # queries and passages are padded together
        mean = longest if model.shape.padded else self._lengths(name)
        flops = batches * model.training_flops(queries * mean[0], passages * mean[1])
        if (validation := self.recipe.validation) and self.recipe.validates_by_search(name):  # judged passages are few
            looks = self.load.steps(stage) // validation.every + 1
            pairs = validation.queries * validation.depth
            flops += looks * model.inference_flops(0, pairs * self._lengths(name)[1]) / 2
        memory = self._training_memory(name, queries, passages, mean, longest)
        self._add(name, "train", "train", flops, assumptions.TRAINING_SHARE, 1, memory, batches)

    def _masked_lm(self, name: str) -> None:
        stage, model = self.recipe.stages[name], self.models[name]
        assert isinstance(stage, MaskedLm)
        batches, size, longest = self.load.batches(stage), stage.batch_size, stage.passage_length
        mean = longest if model.shape.padded else min(self.load.passage_tokens + 3, longest)
        predicted = stage.masked * (mean - 3) + bool(stage.bow_weight)  # per passage
        flops = batches * model.masked_flops(size * mean, size * predicted)
        local = size / max(self.gpus("train", name), 1)
        at_once = min(local, stage.gradient_cache or local)
        tokens = at_once * min(longest, _largest_mean(mean, at_once))
        logits = assumptions.PREDICTED_BYTES * model.shape.vocabulary * predicted * tokens / mean
        memory = model.training_memory(0, tokens, longest) + logits
        self._add(name, "train", "masked_lm", flops, assumptions.TRAINING_SHARE, 1, memory, batches)

    def _training_memory(
        self, name: str, queries: int, passages: int, mean: tuple[float, float], longest: tuple[float, float]
    ) -> float:
        """Return the bytes on each GPU in the largest batch of a training.

        Args:
            queries, passages: texts of a batch.
            mean, longest: tokens of a query and of a passage.
        """
        stage, processes = self.recipe.model_stage(name), max(self.gpus("train", name), 1)
        counts = queries / processes, passages / processes
        tokens = [n * min(at_most, _largest_mean(m, n)) for n, m, at_most in zip(counts, mean, longest, strict=True)]
        if stage.gradient_cache:  # the number of texts at a time
            at_once = min(sum(counts), stage.gradient_cache)
            tokens = [0, min(sum(tokens), at_once * min(max(longest), _largest_mean(max(mean), at_once)))]
        return self.models[name].training_memory(tokens[0], tokens[1], max(longest), sum(counts), queries + passages)

    def _encode(self, name: str) -> None:
        model = self.models[name]
        splits = [split for system, split in self.demand.query_vectors if system == name]
        query, passage = self._lengths(name)
        share, memory = assumptions.ENCODING_SHARE, model.inference_memory()
        queries = model.inference_flops(sum(self.load.queries[s] for s in splits) * query, 0)
        self._add(name, "encode", "encode_queries", queries, share, len(splits), memory)
        passages = model.inference_flops(0, self.load.passages * passage)
        self._add(name, "encode", "encode_passages", passages, share, self.recipe.dataset.shards, memory)

    def _pairs(self, ranker: str, rule: str, pairs: float, jobs: int) -> None:
        model = self.models[ranker]
        flops = model.inference_flops(0, pairs * sum(self._lengths(ranker)))
        self._add(ranker, "score", rule, flops, assumptions.ENCODING_SHARE, jobs, model.inference_memory())

    def _score(self, student: str) -> None:
        candidates = trained_examples(self.recipe, student, self.load) * (
            self.recipe.model_stage(student).negatives_per_query + 1
        )
        pairs = [(name, candidates) for name in needs.teachers(self.recipe, student, in_batch=False)]
        judged = judged_candidates(self.recipe, student, self.load)
        pairs += [(name, judged) for name in scorers.judges(self.recipe, student)]
        for name, count in pairs:
            if name in self.recipe.with_output("scores"):
                self._pairs(name, "score_with_ranker", count, self.recipe.dataset.shards)

    def _rank(self, name: str, split: str) -> None:
        stage, queries = self.recipe.stages.get(name), self.load.queries[split]
        if stage is None or stage.output == "sparse":
            return
        if isinstance(stage, Ranker):
            self._pairs(name, "rerank", queries * stage.rerank.depth, 1)
            return
        width = self.models[name].vector
        flops = 2.0 * queries * self.load.passages * width
        memory = 2 * 2 * assumptions.SEARCH_ROWS * width + assumptions.SEARCH_BYTES
        jobs = needs.train_jobs(self.recipe, name) if split == "train" else 1
        self._add(name, "search", "dense_search", flops, assumptions.SEARCH_SHARE, jobs, memory)
