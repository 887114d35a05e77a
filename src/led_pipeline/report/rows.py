"""What the tables of the page say, from the report's numbers and the recipe."""

from pathlib import Path
from typing import Any

from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import MaskedLm, Model, Started
from led_pipeline.recipe.systems import Fusion
from led_pipeline.report.text import MISSING


def count(value: float | None) -> str:
    """Return a whole number with thousands set apart."""
    return MISSING if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def best_values(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the highest value of each measure on each split, among the systems that were evaluated."""
    best = {}
    for split, entry in metrics["splits"].items():
        measured = [result["measures"] for result in entry["systems"].values() if result]
        best[split] = {m: max(values[m] for values in measured) for m in metrics["measures"]} if measured else {}
    return best


def fused_by(name: str, fusion: Fusion) -> str:
    """Return the sentence about what a fusion is made of."""
    weights = zip(fusion.weights, fusion.systems, strict=True) if fusion.weights else []
    systems = [f"{weight:g} × {system}" for weight, system in weights] or fusion.systems
    how = f"reciprocal ranks (k = {fusion.rank_offset})" if fusion.method == "rrf" else f"{fusion.normalisation} scores"
    depth = f", the first {fusion.depth:,} of each" if fusion.depth else ""
    return f"{name} is the sum of the {how} of {', '.join(systems[:-1])} and {systems[-1]}{depth}."


def run_links(metrics: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the address of every run on the splits without judgements, relative to the page."""
    return {
        split: {system: f"../runs/{Path(run).name}" for system, run in entry["runs"].items()}
        for split, entry in metrics["splits"].items()
        if not entry["judged"]
    }


def stage_rows(recipe: Recipe, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the table of stages says: where each starts, what it learns from, and how its training went."""
    rows = []
    for name in needs.order(recipe):
        stage, log = recipe.stages[name], metrics["training"].get(name)
        row = {"name": name, "family": stage.family, "log": log, "trained": name not in recipe.imported}
        if isinstance(stage, Started):
            row |= {"init": stage.init, "tokenizer": recipe.tokenizer_of(name)}
        if isinstance(stage, Model) and stage.train:
            row |= {
                "negatives": f"{stage.negatives_per_query} of {', '.join(stage.negative_systems)}",
                "teachers": [
                    f"{' + '.join(t.systems)}: {t.loss}\u00a0×\u00a0{t.weight_in_words}" for t in stage.teachers
                ],
                "schedule": _schedule(stage, "queries"),
            }
            if stage.judge and (note := metrics["judged"].get(name)):
                row["judged"] = (
                    f"{' + '.join(stage.judge.systems)} dropped {count(note['dropped'])} of"
                    f" {count(note['candidates'])} candidates, {note['dropped_per_query']['mean']:.1f} of a query"
                )
        elif isinstance(stage, MaskedLm):
            row["schedule"] = _schedule(stage, "passages")
        rows.append(row)
    return rows


def _schedule(stage: Model | MaskedLm, texts: str) -> list[str]:
    """Return the batches of a stage's optimizer steps, and its learning rate."""
    batches = f"{stage.gradient_accumulation}\u00a0×\u00a0" if stage.gradient_accumulation > 1 else ""
    return [f"{batches}{stage.batch_size} {texts}", f"lr {stage.learning_rate:g}".replace("e-0", "e-")]


def title_variant(metrics: dict[str, Any]) -> str:
    """Return the file that the titles of the passages come from: results with and without titles do not compare."""
    prepared = metrics["provenance"]["prepared"]["passages"] or {}
    return Path(prepared["titles"]["path"]).name if prepared.get("titles") else "no title file"


def cited(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """Return the sources of the published rows, each once, in the order of the rows."""
    sources: list[dict[str, str]] = []
    for row in metrics["published"] or []:
        if row["source"] and row["source"] not in sources:
            sources.append(row["source"])
    return sources


def bytes_in_words(value: float | None) -> str:
    """Return an amount of memory in its largest unit."""
    if value is None:
        return MISSING
    size, unit = next(
        (value / 10**power, unit)
        for power, unit in ((9, "GB"), (6, "MB"), (3, "kB"), (0, "bytes"))
        if value >= 10**power or not power
    )
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "bytes" else f"{size:.1f} {unit}"


def kilowatt_hours(joules: float | None) -> str:
    """Return an energy in kilowatt hours."""
    return MISSING if joules is None else f"{joules / 3.6e6:,.2f} kWh"
