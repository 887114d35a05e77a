"""Gate: stop where a system that reproduces a published one measures lower than it by more than the tolerance.

Run as `python -m led_pipeline.evaluation.gate --metrics report/metrics.json --out gate.json`. The report
decides which numbers are compared (published.py): a row counts if a stage reproduces it and its numbers are not
unverified; so does what a recipe of this project is expected to reach. A result above the number passes.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main


def compared(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one entry per number of ours that is compared with a published one, in printed units."""
    for row in metrics["published"] or []:
        for split, values in row["values"].items():
            for measure, cell in values.items():
                if cell["tolerance"] is not None:
                    yield {
                        "system": row["stage"],
                        "published_as": row["system"],
                        "source": row["source"]["title"] if row["source"] else None,
                        "split": split,
                        "measure": measure,
                        "ours": round(cell["published"] + cell["difference"], 2),
                        "expected": cell["published"],
                        "tolerance": cell["tolerance"],
                        "passes": cell["difference"] >= -cell["tolerance"],
                    }


def sentence(entry: Mapping[str, Any]) -> str:
    source = f", as in {entry['source']}" if entry["source"] else ", our expectation, which nobody published"
    return (
        f"{entry['system']} on {entry['split']}: {entry['measure']} is {entry['ours']:.1f}, expected"
        f" {entry['expected']:.1f} with a tolerance of {entry['tolerance']:.1f} ({entry['published_as']}{source})"
    )


def check(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the comparisons.

    Raises:
        InputError: a sentence per number that is not reached, or nothing could be compared.
    """
    entries = list(compared(metrics))
    if not entries:
        raise InputError("gate: no published number belongs to these systems and splits; set evaluation.gate to false")
    missed = [sentence(entry) for entry in entries if not entry["passes"]]
    if missed:
        advice = "the report is complete; set evaluation.gate to false to finish without this comparison"
        raise InputError("\n  ".join([f"gate: {len(missed)} of {len(entries)} numbers are too low:", *missed, advice]))
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare results with published numbers.")
    parser.add_argument("--metrics", required=True, type=Path, help="the report's numbers")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    entries = check(read_json(arguments.metrics))
    for entry in entries:
        print(sentence(entry))
    write_json(arguments.out, entries)


if __name__ == "__main__":
    run_main(main)
