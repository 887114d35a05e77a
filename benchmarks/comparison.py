"""Compare two computations of a value and write a page of differences, for compare_losses and compare_models."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from led_pipeline.files.atomic import atomic

Value = Callable[[Any], "float | Tensor | list"]


@dataclass(frozen=True)
class Comparison:
    """A term, its reference, and both computations, which map a case to numbers."""

    term: str
    reference: str
    ours: Value
    peer: Value

    def difference(self, cases: Iterable[Any]) -> float:
        """Return the largest difference over some cases, relative to the largest entry where that is above 1."""
        differences = []
        for case in cases:
            mine, other = (torch.as_tensor(f(case), dtype=torch.float64) for f in (self.ours, self.peer))
            if mine.shape != other.shape:
                raise ValueError(f"{self.term}: {tuple(mine.shape)} vs {tuple(other.shape)} of {self.reference}")
            differences.append(((mine - other).abs().max() / other.abs().max().clamp(min=1)).item())
        return max(differences)


def table(comparisons: Iterable[Comparison], cases: Iterable[Any], head: str) -> str:
    """Return a Markdown table with one row per comparison; `head` names the first column."""
    cases = list(cases)
    lines = [f"| {c.term} | {c.reference} | {c.difference(cases):.0e} |\n" for c in comparisons]
    return f"| {head} | compared with | largest difference |\n|---|---|---|\n" + "".join(lines)


def compared_pairs(page: str) -> list[tuple[str, str]]:
    """Return the term and the reference of every row of a page's tables."""
    cells = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    return [(row[1].strip(), row[2].strip()) for row in cells if row[2].strip() != "compared with"]


def write(page: Callable[[], str], description: str) -> None:
    """Write a page to the file that the command line names, or print it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, help="file to write the page to (default: print it)")
    out = parser.parse_args().out
    if out is None:
        print(page(), end="")
        return
    with atomic(out) as temporary:
        temporary.write_text(page(), encoding="utf-8")
