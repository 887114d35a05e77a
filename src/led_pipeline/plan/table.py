"""Table: the estimate of a recipe in rows of one stage each, and as text."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.fetch.hub import hub_models
from led_pipeline.files.atomic import size
from led_pipeline.plan.compute import KINDS, Computer, Cost, Speed
from led_pipeline.plan.disk import Artefact, artefacts, peak
from led_pipeline.plan.jobs import count_jobs
from led_pipeline.plan.shapes import shape_of
from led_pipeline.plan.stage_models import stage_models
from led_pipeline.plan.workload import Workload, workload
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Trained

HEADER = ("stage", "family", "weights", "GPUs", *(f"{kind} h" for kind in KINDS), "GPU h", "GPU memory", "disk")
LARGEST = 6  # folders named in the summary of the disk


@dataclass(frozen=True)
class Row:
    """One stage, BM25, or the data that all share; hours are those of jobs one after another."""

    name: str
    family: str
    parameters: int | None
    known: bool
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
    found: list[Artefact]
    gpu: str

    @property
    def peak(self) -> float:
        return peak(self.found)[0]

    @property
    def remains(self) -> float:
        return peak(self.found)[1]

    @property
    def gpu_hours(self) -> float:
        return sum(row.gpu_hours for row in self.rows)

    def by_folder(self) -> Counter[str]:
        """Return the bytes that remain, by folder under the results."""
        sizes: Counter[str] = Counter()
        for artefact in self.found:
            sizes[artefact.folder] += 0 if artefact.transient else artefact.bytes
        return sizes


def estimate(
    recipe: Recipe, results: Path, gpu: str | None = None, limit: int | None = None, downloads: int = 0
) -> Estimate:
    """Estimate a recipe on GPUs of some name, of which at most `limit` go to one job."""
    load, speed = workload(recipe, results), Speed.named(gpu)
    models = stage_models(recipe, results)
    computer = Computer(recipe, load, models, speed, limit)
    costs = computer.all()
    saved = [n for n in recipe.trained if _is_saved(recipe.stages[n], costs[n])]
    starts = {model.name: shape_of(recipe, model.name, results) for model in hub_models(recipe) if model.weights}
    published = {name: float(shape.stored_bytes * shape.parameters) for name, shape in starts.items()}
    found = artefacts(recipe, load, models, saved, downloads, published)
    kept: Counter[str] = Counter()
    for artefact in found:
        kept[artefact.owner] += 0 if artefact.transient else artefact.bytes
    rows = [Row("data", "", None, True, 0, Cost(), kept["data"]), Row("bm25", "", None, True, 0, Cost(), kept["bm25"])]
    for name in needs.order(recipe):
        model = models[name]
        gpus = computer.gpus("train", name) if name in recipe.trained else 0
        family = recipe.stages[name].family
        rows.append(Row(name, family, model.parameters, model.known, gpus, costs[name], kept[name]))
    return Estimate(load, rows, count_jobs(recipe), found, speed.gpu)


def _is_saved(stage: Trained, cost: Cost) -> bool:
    """Return whether a training lasts long enough to leave a checkpoint behind."""
    return stage.checkpoint_steps is not None or 60 * cost.hours["train"] > stage.checkpoint_min


def hours(value: float) -> str:
    return "" if value == 0 else f"{value:,.1f}" if value >= 0.05 else "<0.1"


def align(rows: list[tuple[str, ...]]) -> Iterable[str]:
    """Yield the lines of a table: the first two columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, row in enumerate(rows):
        cells = [c.ljust(w) if j < 2 else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
        if i == 0:
            yield "-" * (sum(widths) + 2 * (len(widths) - 1))


def text(made: Estimate) -> str:
    """Return the estimate as a table with a few lines about jobs and disk."""
    rows = [HEADER]
    for row in made.rows:
        weights = "" if row.parameters is None else f"{'' if row.known else '~'}{row.parameters / 1e6:,.1f} M"
        spent = [hours(row.cost.hours[kind]) for kind in KINDS]
        memory = size(row.gpu_memory) if row.gpu_memory else ""
        cells = (row.name, row.family, weights, str(row.gpus or ""), *spent, hours(row.gpu_hours), memory)
        rows.append((*cells, size(row.disk)))
    totals = [hours(sum(row.cost.hours[kind] for row in made.rows)) for kind in KINDS]
    rows.append(("all", "", "", "", *totals, hours(made.gpu_hours), "", size(made.remains)))
    queries = ", ".join(f"{split} {count:,}" for split, count in made.load.queries.items())
    largest = ", ".join(f"{folder} {size(value)}" for folder, value in made.by_folder().most_common(LARGEST))
    jobs = ", ".join(f"{rule} {count}" for rule, count in made.jobs.items() if rule != "led_final")
    lines = [
        f"{made.load.passages:,} passages, queries: {queries} ({made.load.basis})",
        "",
        *align(rows),
        "",
        f"jobs: {sum(made.jobs.values()):,}: {jobs}",
        f"disk: {size(made.peak)} at the peak, {size(made.remains)} remain: {largest}",
    ]
    if made.gpu_hours:
        lines.append(f"hours are computed for {made.gpu}, from src/led_pipeline/plan/assumptions.py, not measured")
    if any(not row.known for row in made.rows):
        lines.append("~ the model's size is not known here; BERT-base is assumed")
    return "\n".join(lines)
