"""Answers: what each system ranks for a query, with the movement between systems, judgements and matching terms."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from markupsafe import Markup

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.graph import Recipe
from led_pipeline.serve.highlight import Mark, Pieces, excerpt, html, marks, pieces_of
from led_pipeline.serve.once import Once
from led_pipeline.serve.splits import JudgedQuery
from led_pipeline.use.records import Answer, Match, Passage
from led_pipeline.use.session import Session

SEARCHED = 100  # passages that are searched, so that movement is known beyond the ones on the page
SNIPPET = 240  # characters
TERMS = 6  # terms below a passage

Kind = Literal["BM25", "dense", "lexicon", "ranker", "other"]
_KINDS: Mapping[str | None, Kind] = {"dense": "dense", "sparse": "lexicon", "scores": "ranker"}

Answered = TypeVar("Answered")

_log = logging.getLogger("led_pipeline.serve")


def kind_of(recipe: Recipe, system: str) -> Kind:
    """Return what kind of system a name is: a stage's by its output."""
    if system == "bm25":
        return "BM25"
    stage = recipe.stages.get(system)
    return _KINDS.get(stage.output, "other") if stage else "other"


def reason_of(session: Session, system: str) -> str:
    """Return why a system is not available, without its name in front."""
    return session.unavailable[system].removeprefix(f"{system}: ")


@dataclass(frozen=True)
class Term:
    """A term that a query and a passage share."""

    term: str
    query_weight: float
    passage_weight: float
    part: float  # of the score, 0..1
    share: float  # of the largest product

    @property
    def strength(self) -> int:
        """The class of its colour."""
        return Mark(0, 1, self.share).strength


def terms(matches: Sequence[Match]) -> list[Term]:
    """Return the matching terms, the largest products first."""
    products = [(match, match.query_weight * match.passage_weight) for match in matches]
    largest = max((product for _, product in products), default=0.0)
    positive = [(match, product) for match, product in products if product > 0]
    total = sum(product for _, product in positive)
    return [
        Term(match.term, match.query_weight, match.passage_weight, product / total, product / largest)
        for match, product in sorted(positive, key=lambda pair: -pair[1])
    ]


@dataclass(frozen=True)
class Ranked:
    """One passage of an answer."""

    rank: int  # from 1
    passage: Passage
    score: float
    title: str
    text: Markup
    terms: list[Term]
    grade: int | None  # None: not judged
    relevant: bool
    moved: int | None
    """Ranks gained against the first column; None in that column, or where it does not rank the passage."""
    new: bool
    """The first column does not rank the passage at all."""


@dataclass(frozen=True)
class Column:
    """The answer of one system."""

    system: str
    kind: Kind
    milliseconds: float
    ranked: list[Ranked]
    searched: int
    relevant_at: dict[str, int]
    """Ranks of the relevant passages by id, as far as they were searched."""
    loading: bool = False
    """This was the first search of the system, which also loads its model or index."""


@dataclass(frozen=True)
class Failure:
    """A system that gave no answer, and a sentence that says why."""

    system: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class Scored:
    """What one system thinks of one passage for a query."""

    system: str
    kind: Kind
    rank: int | None  # None: not among the first `searched`
    searched: int
    score: float | None  # None: the system cannot score a single passage
    terms: list[Term]
    text: Markup | None  # the whole text with its marks; None without matching terms


class Answers:
    """Searches with the systems of a session, and explains what they rank."""

    def __init__(self, session: Session, exclude_query_id: bool = False) -> None:
        self._session = session
        self._exclude_query_id = exclude_query_id
        self._pieces: Once[str, Pieces | None] = Once(self._tokenizer)
        self._answered: set[str] = set()

    def columns(
        self, query: str, systems: Sequence[str], depth: int, judged: JudgedQuery | None
    ) -> Iterator[Column | Failure]:
        """Yield the answer of each system as soon as it is there; one that fails does not stop the others."""
        first: dict[int, int] | None = None

        def column(system: str) -> Column:
            nonlocal first
            loading = system not in self._answered
            answer = self._search(query, system, depth, judged)
            ranks, before = {hit.row: rank for rank, hit in enumerate(answer.hits, 1)}, first
            first = ranks if first is None else first
            return replace(self._column(answer, depth, judged, before), loading=loading)

        yield from (self._attempt(system, column) for system in systems)

    def scores(
        self, query: str, systems: Sequence[str], passage: Passage, judged: JudgedQuery | None
    ) -> Iterator[Scored | Failure]:
        """Yield what each system thinks of a passage."""

        def scored(system: str) -> Scored:
            hits = self._search(query, system, SEARCHED, judged).hits
            rank = next((rank for rank, hit in enumerate(hits, 1) if hit.row == passage.row), None)
            score = hits[rank - 1].score if rank else self._session.score(system, query, passage.row)
            matching = terms(self._session.matches(system, query, passage.row))
            text = self.marked(system, passage.text, matching) if matching else None
            return Scored(system, self._kind(system), rank, len(hits), score, matching, text)

        yield from (self._attempt(system, scored) for system in systems)

    def warm(self, systems: Sequence[str]) -> None:
        """Load some systems, before somebody waits for them; one that fails says so when it is asked."""
        for system in systems:
            try:
                self._session.warm(system)
            except InputError:
                continue
            self._answered.add(system)

    def _attempt(self, system: str, answer: Callable[[str], Answered]) -> Answered | Failure:
        """Return an answer, or why there is none: the page is half sent already, and other columns follow."""
        if system in self._session.unavailable:
            return Failure(system, self._kind(system), reason_of(self._session, system))
        try:
            return answer(system)
        except InputError as error:
            return Failure(system, self._kind(system), str(error))
        except Exception:
            _log.exception("the search with %s failed", system)
            reason = "The search failed with an error of the program; the terminal of led serve has the details."
            return Failure(system, self._kind(system), reason)

    def _kind(self, system: str) -> Kind:
        return kind_of(self._session.recipe, system)

    def _search(self, query: str, system: str, depth: int, judged: JudgedQuery | None) -> Answer:
        drop = judged.qid if judged and self._exclude_query_id else None
        answer = self._session.search(query, system, max(depth, SEARCHED) + (drop is not None))
        self._answered.add(system)
        hits = [hit for hit in answer.hits if hit.id != drop]
        return Answer(answer.system, answer.query, hits, answer.milliseconds)

    def _column(
        self, answer: Answer, depth: int, judged: JudgedQuery | None, first: Mapping[int, int] | None
    ) -> Column:
        grades = judged.grades if judged else {}
        relevant = set(judged.relevant) if judged else set()
        ranked = []
        for rank, hit in enumerate(answer.hits[:depth], 1):
            passage = self._session.passage(hit.row)
            matching = terms(self._session.matches(answer.system, answer.query, hit.row))
            before = first.get(hit.row) if first is not None else None
            ranked.append(
                Ranked(
                    rank=rank,
                    passage=passage,
                    score=hit.score,
                    title=passage.title,
                    text=self.marked(answer.system, passage.text, matching, SNIPPET),
                    terms=matching[:TERMS],
                    grade=grades.get(hit.id),
                    relevant=hit.id in relevant,
                    moved=None if before is None else before - rank,
                    new=first is not None and before is None,
                )
            )
        ranks = {hit.id: rank for rank, hit in enumerate(answer.hits, 1) if hit.id in relevant}
        return Column(answer.system, self._kind(answer.system), answer.milliseconds, ranked, len(answer.hits), ranks)

    def marked(self, system: str, text: str, matching: Sequence[Term], length: int | None = None) -> Markup:
        """Return a text as HTML with a system's matching terms marked.

        Args:
            length: cut out a part of about that many characters; None gives the whole text.
        """
        pieces = self._pieces(system) if matching else None
        places = marks(text, {term.term: term.share for term in matching}, pieces) if pieces else []
        return html(text, places, *(excerpt(text, places, length) if length else (0, None)))

    def _tokenizer(self, system: str) -> Pieces | None:
        """Return what cuts texts into the terms of a stage; None for a system without a tokenizer of its own."""
        path = Path(self._session.layout.model(system), "tokenizer.json")
        return pieces_of(path) if path.exists() else None
