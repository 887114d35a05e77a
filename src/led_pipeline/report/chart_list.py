"""The charts of a page by their names."""

from led_pipeline.report import charts, graph, graph_chart, query_charts
from led_pipeline.report.comparisons import main_measure
from led_pipeline.report.contents import Report
from led_pipeline.report.curves import Panel
from led_pipeline.report.text import number
from led_pipeline.report.timeline import dates_are_true, frame, jobs


def chart_specs(report: Report, drawing: graph.Drawing, curves: list[Panel]) -> dict[str, charts.Spec]:
    """Return the charts of the page by their names."""
    recipe, metrics, palette = report.recipe, report.metrics, report.colours
    drawn: dict[str, charts.Spec] = {}
    scores = {}
    if report.split:
        measure, entry = main_measure(recipe, report.split), metrics["splits"][report.split]
        means = charts.means_frame(entry, measure)
        scores = {
            n: f"{measure} {number(r['measures'][measure])} {report.split}" for n, r in entry["systems"].items() if r
        }
        if len(means):
            drawn["systems"] = charts.systems_chart(means, f"{measure} on {report.split}", palette)
        tests = (
            [*metrics["headline"]["tests"], *metrics["comparisons"]] if metrics["headline"] else metrics["comparisons"]
        )
        pairs = charts.pairs_frame([t for t in tests if (t["split"], t["measure"]) == (report.split, measure)])
        if len(pairs := pairs.drop_duplicates("pair") if len(pairs) else pairs):
            drawn["differences"] = charts.differences_chart(pairs, palette)
        drawn |= charts.cost_charts(recipe, metrics, report.split, measure, palette)
    drawn["graph"] = graph_chart.graph_chart(drawing, scores)
    best = {name: (log.finished or {}).get("best_step") for name, log in report.logs.items()}
    drawn |= {f"curve-{i}": charts.curve_chart(panel, palette, best) for i, panel in enumerate(curves)}
    done = jobs(recipe, report.results, report.logs)
    if dates_are_true(done):
        drawn["course"] = charts.course_chart(frame(done))
    return drawn | where_charts(report)


def where_charts(report: Report) -> dict[str, charts.Spec]:
    """Return the charts of the two systems that the reader chooses; none for fewer than two."""
    queries = report.queries
    if queries is None or len(queries.values.columns) < 2:
        return {}
    palette = [report.colours[name] for name in queries.systems]
    pair = chosen_pair(report, queries.systems)
    drawn = {"where-queries": query_charts.sorted_differences(queries.measure, palette, pair)}
    return drawn | {
        f"where-{i}": query_charts.differences_by_group(group, f"g{i}", queries.measure, palette, pair)
        for i, group in enumerate(queries.groups)
    }


def chosen_pair(report: Report, systems: list[str]) -> tuple[int, int]:
    """Return the numbers of the two systems that a page begins with: the final stage and its control."""
    about = report.answer
    first = systems.index(about.final) if about and about.final in systems else len(systems) - 1
    second = systems.index(about.control) if about and about.control in systems else 0
    return first, second if second != first else (first + 1) % len(systems)
