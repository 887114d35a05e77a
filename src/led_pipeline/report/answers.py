"""The first lines of the page: the final stage against its control and BM25, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from led_pipeline.report.text import number, p_value, signed

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Line:
    """One comparison in words."""

    verdict: str
    """better, worse or open: no difference could be shown."""
    split: str
    measure: str
    other: str
    value: str
    against: str
    difference: str
    interval: str
    p: str
    counts: str


def verdict(test: Mapping[str, Any]) -> str:
    """Return whether the first system is better or worse than the second one, or whether that is open."""
    if test["p_holm"] >= SIGNIFICANT:
        return "open"
    return "better" if test["difference"] > 0 else "worse"


def lines(first: Mapping[str, Any]) -> list[Line]:
    """Return the comparisons of the first answer (`comparisons.compare_all`) in words."""
    return [
        Line(
            verdict(test),
            test["split"],
            test["measure"],
            test["b"],
            number(test["mean_a"]),
            number(test["mean_b"]),
            signed(test["difference"]),
            f"{signed(test['interval'][0])} to {signed(test['interval'][1])}",
            p_value(test["p_holm"]),
            f"{test['wins']:,} better, {test['losses']:,} worse, {test['ties']:,} equal",
        )
        for test in first["tests"]
    ]


def title(first: Mapping[str, Any]) -> str:
    """Return the answer in one sentence, about the first split."""
    if not first["tests"]:
        return f"{first['final']} was measured, and nothing to compare it with"
    split = first["tests"][0]["split"]
    others: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for test in first["tests"]:
        if test["split"] == split:
            others[verdict(test)].append(test["b"])
    words = {"better": "better than", "worse": "worse than", "open": "not shown to differ from"}
    clauses = [f"{words[sign]} {' and '.join(names)}" for sign, names in others.items() if names]
    return f"On {split}, {first['final']} is {', but '.join(clauses)}"
