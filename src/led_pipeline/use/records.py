"""Records: what a search gives back, and what every engine does."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Hits = tuple[NDArray[np.int32], NDArray[np.float32]]  # passage rows, best first, and their scores
NO_HITS: Hits = (np.empty(0, np.int32), np.empty(0, np.float32))


@dataclass(frozen=True)
class Hit:
    """A passage that a system found."""

    row: int
    id: str
    score: float


@dataclass(frozen=True)
class Answer:
    """A system's best passages for one query, best first, and how long the search took."""

    system: str
    query: str
    hits: list[Hit]
    milliseconds: float


@dataclass(frozen=True)
class Passage:
    row: int
    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Match:
    """A term that a query and a passage share; the product of the weights is its share of the score."""

    term: str
    query_weight: float
    passage_weight: float


class Engine(Protocol):
    """Answers the queries of one system."""

    def search(self, query: str, depth: int) -> Hits: ...

    def score(self, query: str, row: int) -> float | None:
        """Return the score of any passage; None if the system scores only those that it finds."""

    def matches(self, query: str, row: int) -> list[Match]:
        """Return the terms that a query and a passage share; empty for systems without terms."""
