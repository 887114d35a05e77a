"""Describe what a prepared file was made from, and what was left out of it, for the log and for provenance JSON."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.lines import NOTES, Problems
from led_pipeline.data.formats.repair import Repair
from led_pipeline.data.formats.streams import on_disk
from led_pipeline.files.digests import digest


def provenance(
    inputs: Iterable[Path | None], counts: Counter[str], problems: Problems, repair: Repair
) -> dict[str, Any]:
    """Describe the inputs (path and hash), the counts of texts kept and left out, and the repaired texts."""
    counts.update(repair.changed)
    for name, count in sorted(counts.items()):
        print(f"{name.replace('_', ' ')}: {count:,}")
    for path, kinds in problems.skipped.items():
        for kind, count in kinds.items():
            print(f"{path}: skipped {count:,} line(s) with {kind}")
    for path, kinds in problems.noted.items():
        for kind, count in kinds.items():
            print(f"{path}: {count:,} {NOTES[kind]}")
    return {
        "inputs": [
            {"path": str(path), "bytes": on_disk(path).stat().st_size, "sha256": digest(on_disk(path))}
            for path in inputs
            if path
        ],
        "counts": dict(sorted(counts.items())),
        "skipped": problems.skipped,
        "noted": problems.noted,
        "repair_encoding": repair.method,
    }
