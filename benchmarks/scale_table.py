"""Format the measurements of `scale` as tables, and extrapolate them to larger collections.

Time and memory of a step are a + b x, with the x that its `Step` names and the line through the two largest sizes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

TARGETS = {
    "8.84 million": {"P": 8_841_823, "Q": 502_939, "D": 6_980, "S": 16, "N": 397_768_673},
    "138 million": {"P": 138_364_198, "Q": 502_939, "D": 6_980, "S": 256, "N": 397_768_673},
}


def variables(size: Mapping[str, Any], shards: int, negatives: int) -> dict[str, int]:
    """Return the variables of a measured size."""
    return {
        "P": size["passages"],
        "Q": size["train"],
        "D": size["dev"],
        "S": shards,
        "N": size["train"] * negatives,
    }


def evaluate(formula: str, values: Mapping[str, int]) -> float:
    """Return the value of a step's formula, for instance Q/S*P."""
    return float(eval(formula, {"__builtins__": {}, "min": min}, dict(values)))


def extrapolate(formula: str, points: Iterable[tuple[Mapping[str, int], float]], target: Mapping[str, int]) -> float:
    """Extrapolate the line through the last two points to a target; it never falls and starts at 0 or above."""
    (x1, y1), (x2, y2) = [(evaluate(formula, values), y) for values, y in points][-2:]
    slope = max(0.0, (y2 - y1) / (x2 - x1)) if x2 != x1 else 0.0
    if slope * x2 > y2:  # it grew faster than x: use the line through 0 instead of a negative start
        return y2 / x2 * evaluate(formula, target)
    return y2 + slope * (evaluate(formula, target) - x2)


def bytes_text(value: float) -> str:
    """Format bytes in the unit that leaves two or three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            return f"{value:.2g} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
        value /= 1000
    raise AssertionError


def measured_table(sizes: list[dict], steps: Iterable) -> str:
    """Return CPU seconds, anonymous and mapped memory and disk of every step and size."""
    names = [f"{size['passages']:,}" for size in sizes]
    head = ["step", *(f"{kind} {name}" for kind in ("CPU s", "memory", "mapped", "disk") for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for step in steps:
        took = [size["steps"].get(step.name) for size in sizes]
        cells = [step.name, *(f"{t['cpu_s']:.1f}" if t else "" for t in took)]
        for kind in ("anonymous", "mapped", "disk"):
            cells += [bytes_text(t[kind]) if t else "" for t in took]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def extrapolated_table(sizes: list[dict], steps: Iterable, shards: int, negatives: int) -> str:
    """Return CPU hours of all jobs of a step, memory of one job, and disk of all its files for larger collections."""
    head = ["step", "time grows with"]
    head += [f"{kind} {name}" for name in TARGETS for kind in ("jobs", "CPU h, all jobs", "memory, one job", "disk")]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for step in steps:
        took = [size for size in sizes if step.name in size["steps"]]
        if len(took) < 2:
            continue  # no line through one point

        def points(kind: str, step: Any = step, took: list[dict] = took) -> list:
            return [(variables(size, shards, negatives), size["steps"][step.name][kind]) for size in took]

        cells = [step.name, step.time]
        for target in TARGETS.values():
            jobs = int(evaluate(step.jobs, target))
            hours = jobs * extrapolate(step.time, points("cpu_s"), target) / 3600
            memory = extrapolate(step.memory, points("anonymous"), target)
            disk = jobs * extrapolate(step.memory, points("disk"), target)
            cells += [str(jobs), f"{hours:.2g}", bytes_text(memory), bytes_text(disk)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
