"""Site: what all pages of one run share."""

from functools import cached_property

from led_pipeline.data.tables import count_rows
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.serve.answers import Answers, Kind, kind_of, reason_of
from led_pipeline.serve.differences import Differences
from led_pipeline.serve.splits import Splits
from led_pipeline.serve.templating import Templates
from led_pipeline.use.session import Session


class Site:
    """A session, and what the pages read besides."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.recipe: Recipe = session.recipe
        self.layout: Layout = session.layout
        self.splits = Splits(self.recipe, self.layout)
        self.differences = Differences(self.layout, self.recipe.evaluation.depth)
        self.answers = Answers(session, self.recipe.dataset.exclude_query_id)
        self.systems = [*session.systems, *(name for name in session.unavailable if name not in session.systems)]
        self.kinds: dict[str, Kind] = {name: kind_of(self.recipe, name) for name in self.systems}
        self.unavailable = {name: reason_of(session, name) for name in session.unavailable}
        self.templates = Templates(site=self)

    @property
    def name(self) -> str:
        return self.recipe.dataset.name

    @cached_property
    def passages(self) -> int:
        """The number of passages of the collection."""
        return count_rows(self.layout.passages)

    @cached_property
    def usual(self) -> tuple[str, ...]:
        """Two systems to start with: BM25 and the one that the recipe's examples end with, as far as they are there."""
        systems = [name for name in self.systems if name not in self.unavailable]
        wishes = ["bm25", *reversed(self.recipe.evaluation.side_by_side or []), *reversed(systems)]
        return tuple(dict.fromkeys(name for name in wishes if name in systems))[:2]
