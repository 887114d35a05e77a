"""Charts of single queries: they compare two systems that the reader chooses, from the data that the page holds once.

The page gives every chart the rows `queries`, and changes the parameters `first` and `second`, the numbers of two
systems. A row has the values `v0`, `v1`, ... of the systems, and the numbers `g0`, `g1`, ... of its groups.
"""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from led_pipeline.report.charts import DIM, INK, SIGNED, Spec, finished, zooming
from led_pipeline.report.queries import Groups

ROWS = "queries"  # name of the data
NORMAL = 1.96  # standard errors on either side of a mean: its 95 % interval


def _chart(colours: Sequence[str], pair: tuple[int, int]) -> alt.Chart:
    """Return an empty chart of the queries with their values a and b, and the difference d."""
    parameters = [
        alt.param(name="first", value=pair[0]),
        alt.param(name="second", value=pair[1]),
        alt.param(name="colours", value=list(colours)),
    ]
    return (
        alt.Chart(alt.NamedData(ROWS))
        .transform_calculate(a="datum['v' + first]", b="datum['v' + second]")
        .transform_filter("isValid(datum.a) && isValid(datum.b)")
        .transform_calculate(d="datum.a - datum.b")
        .add_params(*parameters)
    )


COLOUR = "datum.d > 0 ? colours[first] : datum.d < 0 ? colours[second] : '#8492a6'"


def sorted_differences(measure: str, colours: Sequence[str], pair: tuple[int, int]) -> Spec:
    """Draw the difference of two systems on every query where they differ, the largest ones first."""
    chart = (
        _chart(colours, pair)
        .transform_filter("datum.d != 0")
        .transform_window(sort=[alt.SortField("d", order="descending")], place="row_number()")
        .transform_calculate(colour=COLOUR)
        .transform_calculate(zero="0")
        .mark_rule(strokeWidth=2, opacity=0.8)
        .encode(
            x=alt.X("place:Q", title="queries on which they differ", axis=alt.Axis(format=",d", grid=False)),
            y2="zero:Q",
            y=alt.Y("d:Q", title=f"difference of {measure}", axis=alt.Axis(labelExpr=SIGNED)),
            color=alt.Color("colour:N", scale=None),
            tooltip=[
                alt.Tooltip("t:N", title="query"),
                alt.Tooltip("q:N", title="id"),
                alt.Tooltip("a:Q", title="first", format=".3f"),
                alt.Tooltip("b:Q", title="second", format=".3f"),
            ],
        )
        .properties(width="container", height=250)
        .add_params(zooming("x"))
    )
    return finished(chart, f"difference of {measure} between the two chosen systems, query by query")


def differences_by_group(
    groups: Groups, column: str, measure: str, colours: Sequence[str], pair: tuple[int, int]
) -> Spec:
    """Draw the mean difference of two systems in every group of queries, with its interval.

    Args:
        column: that of the rows with the number of the query's group.
    """
    base = (
        _chart(colours, pair)
        .transform_filter(f"datum.{column} >= 0")
        .transform_aggregate(
            queries="count()", mean_a="mean(a)", mean_b="mean(b)", error="stderr(d)", d="mean(d)", groupby=[column]
        )
        .transform_calculate(low=f"datum.d - {NORMAL} * datum.error", high=f"datum.d + {NORMAL} * datum.error")
        .transform_calculate(colour=COLOUR, name=f"names[datum.{column}] + '  (' + format(datum.queries, ',') + ')'")
        .add_params(alt.param(name="names", value=groups.names))
    )
    order = alt.EncodingSortField(field=column, op="min", order="ascending")
    y = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False))
    tips = [
        alt.Tooltip("name:N", title=groups.title),
        alt.Tooltip("queries:Q", format=","),
        alt.Tooltip("mean_a:Q", title="first", format=".3f"),
        alt.Tooltip("mean_b:Q", title="second", format=".3f"),
        alt.Tooltip("d:Q", title="difference", format="+.4f"),
        alt.Tooltip("low:Q", format="+.4f"),
        alt.Tooltip("high:Q", format="+.4f"),
    ]
    colour = alt.Color("colour:N", scale=None)
    x = alt.X("low:Q", title=f"difference of {measure}", axis=alt.Axis(labelExpr=SIGNED, tickCount=5))
    lines = base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q", y=y, color=colour, tooltip=tips)
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(x="d:Q", y=y, color=colour, tooltip=tips)
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(strokeDash=[4, 4], color=DIM).encode(x="x:Q")
    chart = alt.layer(zero, lines, dots).properties(width="container", height=26 * len(groups.names))
    return finished(chart, f"mean difference of {measure} between the two chosen systems, by {groups.title}")
