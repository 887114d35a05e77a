"""The report: one self-contained HTML page, a text table and a JSON file about a finished run.

Run as `python -m led_pipeline.report.page --config RECIPE.json --results results/D --published config/published.yaml
--out-html index.html --out-text table.txt --out-json metrics.json`.

The page loads nothing from anywhere: styles and drawings are in it. Everything is read from the run's files; a system
or stage whose files are missing shows as a dash.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from led_pipeline.evaluation.published import load_published
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.measures import first_of
from led_pipeline.recipe.systems import Fusion
from led_pipeline.report.costs import is_worth_showing
from led_pipeline.report.curves import charts
from led_pipeline.report.data import gather, train_logs
from led_pipeline.report.examples import example_measure, examples
from led_pipeline.report.graph import draw, legend
from led_pipeline.report.log import TrainLog
from led_pipeline.report.scatter import Dot, scatter
from led_pipeline.report.text import (
    COSTS,
    MISSING,
    cost_cells,
    number,
    p_value,
    published_columns,
    signed,
    text_report,
)


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
        row = {"name": name, "family": stage.family, "log": log, "trained": stage.family == "pretrain" or stage.train}
        if stage.family != "pretrain":
            row |= {"init": stage.init, "tokenizer": recipe.tokenizer_of(name)}
        if stage.family != "pretrain" and stage.train:
            row |= {
                "negatives": f"{stage.negatives_per_query} of {', '.join(stage.negative_systems)}",
                "teachers": [f"{' + '.join(t.systems)}: {t.loss}\u00a0×\u00a0{t.weight:g}" for t in stage.teachers],
                "schedule": [f"{stage.batch_size} queries", f"lr {stage.learning_rate:g}".replace("e-0", "e-")],
            }
        rows.append(row)
    return rows


def headline(metrics: dict[str, Any], measures: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page: value, label and remark.

    Args:
        measures: those of the evaluation; MRR@10, or nDCG@10 for grades, if it is one of them, otherwise the first.
    """
    tiles = []
    for split, entry in metrics["splits"].items():
        preferred = ("MRR@10", "nDCG@10") if (entry["relevant_from"] or 1) == 1 else ("nDCG@10",)
        measure = first_of(measures, *preferred)
        values = {name: result["measures"][measure] for name, result in entry["systems"].items() if result}
        if values:
            system = max(values, key=lambda name: values[name])
            bm25 = f"bm25 {number(values['bm25'])}" if "bm25" in values else ""
            tiles.append((number(values[system]), f"{measure}, {split}", f"{system}; {bm25}" if bm25 else system))
    tiles.append((count(metrics["passages"]), "passages", f"{metrics['dataset']}, {title_variant(metrics)}"))
    seconds = [log["seconds"] for log in metrics["training"].values() if log["seconds"] is not None]
    if seconds:
        tiles.append((duration(sum(seconds)), "training time", f"sum over {len(seconds)} stages"))
    return tiles


def cost_charts(recipe: Recipe, metrics: dict[str, Any]) -> list[Markup]:
    """Return the charts of the main measure on the first split against size, and against the time of a search."""
    split = next(iter(metrics["splits"]), None)
    results = metrics["splits"][split]["systems"] if split else {}
    measure = first_of(recipe.evaluation.measures, "MRR@10")
    drawn = []
    for key, title in {"bytes_per_passage": "bytes per passage", "p50_ms": "median time of a search in ms"}.items():
        dots = [
            Dot(name, cost, result["measures"][measure], style_of(recipe, name))
            for name, result in results.items()
            if result and (cost := metrics["costs"][name][key])
        ]
        drawn.append(scatter(dots, title, f"{measure} on {split}"))
    return [chart for chart in drawn if chart]


def style_of(recipe: Recipe, system: str) -> str:
    """Return the class of a system's colour: the family of its stage."""
    stage = recipe.stages.get(recipe.variants[system].of if system in recipe.variants else system)
    return stage.family if stage else "system"


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


def render(recipe: Recipe, results: Path, metrics: dict[str, Any], logs: dict[str, TrainLog]) -> str:
    """Return the HTML page."""
    environment = Environment(
        loader=PackageLoader("led_pipeline.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "count": count,
        "duration": duration,
        "p_value": p_value,
    }
    first = next(iter(recipe.dataset.judged(recipe.evaluation.splits)), None)
    measured = metrics["splits"][first]["systems"] if first else {}
    measure = first_of(recipe.evaluation.measures, "MRR@10")
    scores = {name: f"{measure} {number(r['measures'][measure])} {first}" for name, r in measured.items() if r}
    return environment.get_template("report.html.j2").render(
        metrics=metrics,
        headline=headline(metrics, recipe.evaluation.measures),
        graph=draw(recipe, scores),
        legend=legend(recipe),
        stages=stage_rows(recipe, metrics),
        best=best_values(metrics),
        cost_titles=[title for title, _, _ in COSTS.values()] if is_worth_showing(metrics["costs"]) else [],
        cost_cells=cost_cells,
        cost_charts=cost_charts(recipe, metrics),
        ranker_depths={n: s.rerank for n, s in recipe.stages.items() if s.family == "ranker"},
        published_columns=published_columns(metrics),
        sources=cited(metrics),
        curves={name: charts(log) for name, log in logs.items()},
        examples=examples(recipe, results),
        example_measure=example_measure(recipe),
        first_split=first,
        recipe=recipe.model_dump(mode="json", exclude={"stages", "defaults"}),
        run_links=run_links(metrics),
        fusions=[fused_by(name, fusion) for name, fusion in recipe.fusion.items()],
        runs=list(recipe.dataset.runs),
        MISSING=MISSING,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the report of a finished run.")
    parser.add_argument("--config", type=Path, required=True, help="the recipe's config as JSON")
    parser.add_argument("--results", type=Path, required=True, help="the results folder of the dataset")
    parser.add_argument("--published", type=Path, help="published numbers to set beside ours")
    for kind in ("html", "text", "json"):
        parser.add_argument(f"--out-{kind}", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        raise InputError(f"--results {arguments.results}: no such folder, expected the results of a run")
    config = read_json(arguments.config)
    recipe = load_recipe(config, trained=lambda _: config["stages"])  # the user's code is not needed any more
    published = load_published(arguments.published, recipe.dataset.name) if arguments.published else None
    logs = train_logs(recipe, arguments.results)
    metrics = gather(recipe, arguments.results, published, logs)
    page, text = render(recipe, arguments.results, metrics, logs), text_report(metrics)
    for path, content in ((arguments.out_html, page), (arguments.out_text, text)):
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    write_json(arguments.out_json, metrics)
    print(text)


if __name__ == "__main__":
    run_main(main)
