"""The report: one self-contained HTML page, a text table and a JSON file about a finished run.

Run as `python -m led_pipeline.report.page --config RECIPE.json --results results/D --published config/published.yaml
--out-html index.html --out-text table.txt --out-json metrics.json`.

The page loads nothing from anywhere: scripts, styles and data are in it. Everything is read from the run's files; a
system or stage whose files are missing shows as a dash.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.load import load_recipe
from led_pipeline.report import answers, assets, graph, graph_chart, rows
from led_pipeline.report.chart_list import chart_specs, chosen_pair
from led_pipeline.report.comparisons import main_measure
from led_pipeline.report.contents import Report, read_report
from led_pipeline.report.costs import is_worth_showing
from led_pipeline.report.curves import panels
from led_pipeline.report.examples import example_measure, examples
from led_pipeline.report.queries import Queries, group_means
from led_pipeline.report.text import COSTS, MISSING, cost_cells, number, p_value, published_columns, signed, text_report


def query_data(queries: Queries) -> dict[str, Any]:
    """Return the queries as JSON values, one list per query.

    The columns are q (id), t (text), w (words), o (overlap), and for every grouping g0, g1, ..., for every system its
    measure v0, v1, ... and the rank of the first relevant passage r0, r1, ...
    """
    columns = {
        "q": queries.frame["qid"],
        "t": queries.frame["text"],
        "w": queries.frame["words"],
        "o": queries.frame["overlap"].round(2),
    }
    columns |= {f"g{i}": pd.Series(group.of) for i, group in enumerate(queries.groups)}
    for i, system in enumerate(queries.systems):
        columns[f"v{i}"] = queries.values[system].round(4)
        columns[f"r{i}"] = queries.ranks.get(system, pd.Series([None] * len(queries.frame), dtype="float64")).astype(
            "Int32"
        )
    whole = pd.DataFrame(columns).astype(object)
    values = whole.where(whole.notna(), None).to_numpy().tolist()
    return {"columns": list(columns), "rows": values, "systems": queries.systems, "measure": queries.measure}


def _environment() -> Environment:
    """Return the environment of the template, with the formats of numbers."""
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
        "count": rows.count,
        "duration": rows.duration,
        "amount": rows.bytes_in_words,
        "energy": rows.kilowatt_hours,
        "p_value": p_value,
    }
    return environment


def render(report: Report) -> str:
    """Return the HTML page."""
    recipe, metrics, queries = report.recipe, report.metrics, report.queries
    drawing, curves = graph.draw(recipe), panels(report.logs)
    drawn = chart_specs(report, drawing, curves)
    pair = chosen_pair(report, queries.systems) if queries and "where-queries" in drawn else None
    first = metrics["headline"]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            metrics=metrics,
            colours=report.colours,
            title=answers.title(first) if first else f"{metrics['dataset']}: nothing was measured",
            answers=answers.lines(first) if first else [],
            charts=assets.as_json(drawn),
            drawn={name: spec["description"] for name, spec in drawn.items()},
            panels=curves,
            legend=graph_chart.legend(drawing),
            queries=queries,
            query_data=assets.as_json(query_data(queries)) if queries else None,
            pair=pair,
            group_means=mean_tables(queries),
            stages=rows.stage_rows(recipe, metrics),
            best=rows.best_values(metrics),
            cost_titles=[title for title, _, _ in COSTS.values()] if is_worth_showing(metrics["costs"]) else [],
            cost_cells=cost_cells,
            ranker_depths={n: s.rerank for n, s in recipe.stages.items() if s.family == "ranker"},
            published_columns=published_columns(metrics),
            sources=rows.cited(metrics),
            examples=examples(recipe, report.results),
            example_measure=example_measure(recipe),
            first_split=report.split,
            main_measures={s: main_measure(recipe, s) for s in recipe.dataset.judged(recipe.evaluation.splits)},
            recipe=recipe.model_dump(mode="json", exclude={"stages", "defaults"}),
            run_links=rows.run_links(metrics),
            fusions=[rows.fused_by(name, fusion) for name, fusion in recipe.fusion.items()],
            runs=list(recipe.dataset.runs),
            title_variant=rows.title_variant(metrics),
            several=report.several,
            style=assets.local_file("page.css"),
            script=assets.local_file("page.js"),
            vega=assets.vega() if drawn else "",
            data_tables=assets.data_tables() if queries else None,
            MISSING=MISSING,
        )
    )


def mean_tables(queries: Queries | None) -> list[tuple[str, Any]]:
    """Return per grouping its title and the rows of its table: group, queries, and the mean of every system."""
    if queries is None:
        return []
    tables = [(group.title, group_means(queries, group, queries.systems)) for group in queries.groups]
    return [
        (title, [(name, *row) for name, row in zip(t.index, t.itertuples(index=False), strict=True)])
        for title, t in tables
    ]


def write_page(path: Path, report: Report) -> None:
    """Write the HTML page."""
    with atomic(path) as temporary:
        temporary.write_text(render(report), encoding="utf-8")


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
    report = read_report(recipe, arguments.results, arguments.published)
    text = text_report(report.metrics)
    write_page(arguments.out_html, report)
    with atomic(arguments.out_text) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(arguments.out_json, report.metrics)
    print(text)


if __name__ == "__main__":
    run_main(main)
