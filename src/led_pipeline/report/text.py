"""The report as plain text: the tables of the page, aligned for a terminal."""

from collections.abc import Mapping
from typing import Any

from led_pipeline.columns import aligned

MISSING = "–"
COSTS = {  # cost -> title, what it is divided by, digits
    "bytes_per_passage": ("bytes/passage", 1, 0),
    "vector_bytes": ("vectors MB", 1e6, 1),
    "index_bytes": ("index MB", 1e6, 1),
    "encode_per_s": ("encoded/s", 1, 0),
    "p50_ms": ("search p50 ms", 1, 3),
    "p95_ms": ("search p95 ms", 1, 3),
}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, or a dash for a missing one."""
    return MISSING if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if not text.strip("+−0.") else text


def p_value(value: float | None) -> str:
    """Return a p-value to three digits, small ones as below 0.001."""
    return MISSING if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def split_table(metrics: dict[str, Any], split: str) -> str:
    """Return the measures of every system on one split, or where the runs are on a split without judgements."""
    entry = metrics["splits"][split]
    if not entry["judged"]:
        return unjudged_table(metrics, split)
    rows = [["system", *metrics["measures"]]]
    for system, result in entry["systems"].items():
        rows.append([system, *(number(result["measures"][m] if result else None) for m in metrics["measures"])])
    queries = MISSING if entry["queries"] is None else f"{entry['queries']:,}"
    title = f"{metrics['dataset']} {split}: {queries} queries, relevant from grade {entry['relevant_from']}"
    return "\n\n".join([title, aligned(rows), *sparsity_table(entry)])


def unjudged_table(metrics: dict[str, Any], split: str) -> str:
    """Return the runs of every system on a split without judgements."""
    entry = metrics["splits"][split]
    queries = MISSING if entry["queries"] is None else f"{entry['queries']:,}"
    rows = [["system", "run"], *([system, entry["runs"].get(system, MISSING)] for system in entry["systems"])]
    return f"{metrics['dataset']} {split}: {queries} queries, no judgements\n\n{aligned(rows, left=2)}"


def sparsity_table(entry: dict[str, Any]) -> list[str]:
    """Return a table of the active terms of each lexicon stage, if there is any, and what one pair costs."""
    rows = [["system", "terms of a query", "terms of a passage", "FLOPS of a pair"]]
    for system, result in entry["systems"].items():
        if result and result.get("sparsity"):
            sparsity = result["sparsity"]
            rows.append(
                [system, *(number(sparsity[k], 1) for k in ("query_terms", "passage_terms")), number(sparsity["flops"])]
            )
    return [aligned(rows)] if rows[1:] else []


def published_columns(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the (split, measure) pairs that any published row has a value for, in the order of our splits."""
    pairs = {(s, m): None for row in metrics["published"] or [] for s, values in row["values"].items() for m in values}
    return sorted(pairs, key=lambda pair: list(metrics["splits"]).index(pair[0]))


def published_table(metrics: dict[str, Any]) -> str:
    """Return the published numbers with ours in brackets."""
    columns = published_columns(metrics)
    rows = [["published x 100 (ours)", *(f"{split} {measure}" for split, measure in columns), "status"]]
    for row in metrics["published"]:
        cells = [row["values"].get(split, {}).get(measure) for split, measure in columns]
        rows.append([row["system"], *(_published_cell(cell) for cell in cells), row["verified"]])
    return aligned(rows)


def _published_cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return MISSING
    ours = "/".join(number(value, 1) for value in cell["ours"].values())
    return f"{cell['published']:.1f}{f' ({ours})' if ours else ''}"


def comparison_table(metrics: dict[str, Any]) -> str:
    """Return the paired comparisons."""
    rows = [["comparison", "split", "measure", "first", "second", "difference", "p", "p (Holm)", "better/worse/equal"]]
    for test in metrics["comparisons"]:
        rows.append(
            [
                f"{test['a']} − {test['b']}",
                test["split"],
                test["measure"],
                number(test["mean_a"]),
                number(test["mean_b"]),
                signed(test["difference"]),
                p_value(test["p_randomisation"]),
                p_value(test["p_holm"]),
                f"{test['wins']}/{test['losses']}/{test['ties']}",
            ]
        )
    return aligned(rows, left=3)


def cost_cells(costs: Mapping[str, float | None]) -> list[str]:
    """Return the costs of a system as the cells of a table, in the order of `COSTS`."""
    values = [(costs[key], scale, digits) for key, (_, scale, digits) in COSTS.items()]
    return [MISSING if value is None else f"{value / scale:,.{digits}f}" for value, scale, digits in values]


def cost_table(metrics: dict[str, Any]) -> str:
    """Return what the vectors and the index of each system take, and how long it encodes and searches."""
    rows = [["system", *(title for title, _, _ in COSTS.values())]]
    return aligned(rows + [[system, *cost_cells(costs)] for system, costs in metrics["costs"].items()])


def text_report(metrics: dict[str, Any]) -> str:
    """Return the whole report as text: one table per split, the published numbers, the comparisons."""
    blocks = [split_table(metrics, split) for split in metrics["splits"]]
    if any(costs["p50_ms"] is not None for costs in metrics["costs"].values()):
        blocks.append(cost_table(metrics))
    if metrics["published"]:
        blocks.append(published_table(metrics))
    if metrics["comparisons"]:
        note = "p: two-sided paired randomisation test, the differences of all queries exchanged at random"
        holm = f"p (Holm): corrected for these {len(metrics['comparisons'])} tests"
        blocks.append(f"{comparison_table(metrics)}\n\n{note}\n{holm}")
    return "\n\n\n".join(blocks) + "\n"
