"""Drawn: the training queries for which a passage is a positive or a negative, by the trainsets of the stages.

A trainset is memory-mapped and searched block by block. A search stops after a time, and says how much it has seen.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from led_pipeline.data.examples import Trainset
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout

BLOCK = 2**22  # passages that are compared at once
SECONDS = 1.0  # for one trainset


@dataclass(frozen=True)
class Use:
    """A query that a passage was drawn for, and in how many of the examples."""

    query: int  # row among the training queries
    examples: int


@dataclass(frozen=True)
class DrawnFor:
    """The training queries of one stage that a passage was drawn for, most examples first."""

    stage: str
    positive: list[Use]
    negative: list[Use]
    share: float
    """How much of the trainset was searched: 1.0 is all of it."""


def trainset_path(layout: Layout, stage: str) -> Path | None:
    """Return the file of a stage's drawn examples, if there is one."""
    paths = (Path(layout.drawn(stage)), Path(layout.trainset(stage)))
    return next((path for path in paths if path.exists()), None)


def stages(recipe: Recipe, layout: Layout) -> list[str]:
    """Return the trained stages with a trainset on disk."""
    return [name for name in recipe.trained if trainset_path(layout, name)]


def drawn_for(path: Path, stage: str, row: int, seconds: float = SECONDS) -> DrawnFor:
    """Search a trainset for a passage row, for at most that many seconds (a block is always completed)."""
    examples = Trainset.read(path)
    passages, end = examples.passages.values, time.monotonic() + seconds
    places = []
    start = 0
    while start < len(passages) and (start == 0 or time.monotonic() < end):
        places.append(start + np.flatnonzero(passages[start : start + BLOCK] == row))
        start += BLOCK
    place = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
    example = np.searchsorted(examples.passages.offsets, place, side="right") - 1
    is_first = examples.passages.offsets[example] == place
    share = min(1.0, start / len(passages)) if len(passages) else 1.0
    queries = examples.query[example]
    return DrawnFor(stage, _uses(queries[is_first]), _uses(queries[~is_first]), share)


def _uses(queries: np.ndarray) -> list[Use]:
    return [Use(query, count) for query, count in Counter(queries.tolist()).most_common()]
