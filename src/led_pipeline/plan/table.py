"""Table: the estimate of a recipe in rows of one stage each, and as text."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from led_pipeline.columns import aligned
from led_pipeline.fetch.hub import hub_models
from led_pipeline.files.atomic import size
from led_pipeline.plan.compute import KINDS, Computer, Cost, Speed
from led_pipeline.plan.disk import Artefact, artefacts, peak
from led_pipeline.plan.jobs import count_jobs
from led_pipeline.plan.lexicon_search import EngineCost, engine_costs, sentence
from led_pipeline.plan.shapes import shape_of
from led_pipeline.plan.stage_models import StageModel, stage_models
from led_pipeline.plan.workload import Workload, workload
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.settings import Running

HEADER = ("stage", "family", "weights", "GPUs", *(f"{kind} h" for kind in KINDS), "GPU h", "GPU memory", "disk")
LARGEST = 6  # folders named in the summary of the disk


@dataclass(frozen=True)
class Row:
    """One stage, BM25, or the data that all share; hours are those of jobs one after another."""

    name: str
    family: str
    parameters: int | None
    is_known: bool  # whether the size of the model was read from a config
    gpus: int
    cost: Cost
    disk: float  # bytes that remain

    @property
    def gpu_memory(self) -> float:
        return max(self.cost.gpu_memory.values())

    @property
    def gpu_hours(self) -> float:
        return sum(self.cost.gpu_hours.values())


@dataclass(frozen=True)
class Estimate:
    load: Workload
    rows: list[Row]
    jobs: Counter[str]
    files: list[Artefact]
    gpu: str
    lexicon_engine: str = "anserini"
    lexicon: Mapping[str, EngineCost] = field(default_factory=dict)
    """the costs of searching lexicon stages, by engine"""
    models: Mapping[str, StageModel] = field(default_factory=dict)
    """the models of the stages, by name"""

    @property
    def peak(self) -> float:
        return peak(self.files)[0]

    @property
    def remains(self) -> float:
        return peak(self.files)[1]

    @property
    def gpu_hours(self) -> float:
        return sum(row.gpu_hours for row in self.rows)

    def by_folder(self) -> dict[str, float]:
        """Return the bytes that remain, by folder under the results."""
        sizes: dict[str, float] = defaultdict(float)
        for artefact in self.files:
            sizes[artefact.folder] += 0 if artefact.transient else artefact.bytes
        return sizes


def estimate(
    recipe: Recipe, results: Path, gpu: str | None = None, limit: int | None = None, downloads: int = 0
) -> Estimate:
    """Estimate a recipe on GPUs of some name, of which at most `limit` go to one job."""
    load, speed = workload(recipe, results), Speed.by_name(gpu)
    models = stage_models(recipe, results)
    computer = Computer(recipe, load, models, speed, limit)
    costs = computer.all()
    saved = [n for n in recipe.trainings if _is_saved(recipe.started(n), costs[n])]
    starts = {model.name: shape_of(recipe, model.name, results) for model in hub_models(recipe) if model.weights}
    published = {name: float(shape.stored_bytes * shape.parameters) for name, shape in starts.items()}
    files = artefacts(recipe, load, models, saved, downloads, published)
    remaining: dict[str, float] = defaultdict(float)
    for artefact in files:
        remaining[artefact.owner] += 0 if artefact.transient else artefact.bytes
    rows = [Row(name, "", None, True, 0, Cost(), remaining[name]) for name in ("data", "bm25")]
    kinds = dict.fromkeys(recipe.dataset.runs, "run") | dict.fromkeys(recipe.fusion, "fusion")
    kinds |= dict.fromkeys(recipe.variants, "variant")
    rows += [Row(name, kind, None, True, 0, Cost(), remaining[name]) for name, kind in kinds.items()]
    for name in needs.order(recipe):
        model = models[name]
        gpus = computer.gpus("train", name) if name in recipe.trainings else 0
        family = recipe.stages[name].family
        rows.append(Row(name, family, model.parameters, model.is_known, gpus, costs[name], remaining[name]))
    lexicon = engine_costs(recipe, load, models)
    engine = recipe.search.lexicon_engine
    return Estimate(load, rows, count_jobs(recipe), files, str(speed), engine, lexicon, models)


def _is_saved(stage: Running, cost: Cost) -> bool:
    """Return whether a training lasts long enough to leave a checkpoint behind."""
    return stage.checkpoint_steps is not None or 60 * cost.hours["train"] > stage.checkpoint_min


def hours(value: float) -> str:
    return "" if value == 0 else f"{value:,.1f}" if value >= 0.05 else "<0.1"


def text(cost: Estimate) -> str:
    """Return the estimate as a table with a few lines about jobs and disk."""
    rows = [HEADER]
    for row in cost.rows:
        weights = "" if row.parameters is None else f"{'' if row.is_known else '~'}{row.parameters / 1e6:,.1f} M"
        spent = [hours(row.cost.hours[kind]) for kind in KINDS]
        memory = size(row.gpu_memory) if row.gpu_memory else ""
        cells = (row.name, row.family, weights, str(row.gpus or ""), *spent, hours(row.gpu_hours), memory)
        rows.append((*cells, size(row.disk)))
    totals = [hours(sum(row.cost.hours[kind] for row in cost.rows)) for kind in KINDS]
    rows.append(("all", "", "", "", *totals, hours(cost.gpu_hours), "", size(cost.remains)))
    queries = ", ".join(f"{split} {count:,}" for split, count in cost.load.queries.items())
    folders = sorted(cost.by_folder().items(), key=lambda item: item[1], reverse=True)
    largest = ", ".join(f"{folder} {size(value)}" for folder, value in folders[:LARGEST])
    jobs = ", ".join(f"{rule} {count}" for rule, count in cost.jobs.items() if rule != "led_final")
    lines = [
        f"{cost.load.passages:,} passages, queries: {queries} ({cost.load.basis})",
        "",
        aligned(rows, left=2),
        "",
        f"jobs: {sum(cost.jobs.values()):,}: {jobs}",
        f"disk: {size(cost.peak)} at the peak, {size(cost.remains)} remain: {largest}",
    ]
    if cost.lexicon:
        lines.append(sentence(cost.lexicon_engine, cost.lexicon))
    if cost.gpu_hours:
        lines.append(f"hours are computed for {cost.gpu}, from src/led_pipeline/plan/assumptions.py, not measured")
    if any(not row.is_known for row in cost.rows):
        lines.append("~ the model's size is not known here; BERT-base is assumed")
    return "\n".join(lines)
