"""View: what the address of a page says (query, systems, depth), and the addresses of other views.

Everything that a page shows follows from its address, so that it can be kept as a bookmark and sent to a colleague.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.errors import nearest

MOST_SYSTEMS = 4
LONGEST_QUERY = 10_000  # characters; queries of some published sets are whole passages
DEPTHS = (10, 20, 50, 100)


class TooLongError(InputError):
    """A query has more characters than are searched."""


@dataclass(frozen=True)
class View:
    """What a search page shows."""

    query: str = ""
    systems: tuple[str, ...] = ()
    """The columns, the one that ranks are compared with first."""
    depth: int = DEPTHS[0]
    split: str | None = None
    qid: str | None = None
    """The query was chosen from the list of this split."""
    chosen: tuple[str, ...] = field(default=(), compare=False)
    """The systems that the address names; empty if the page chose them."""

    def parameters(self) -> list[tuple[str, str]]:
        """Return the view as parameters of an address."""
        pairs: list[tuple[str, Any]] = [("q", self.query), *(("system", name) for name in self.systems)]
        pairs += [("depth", self.depth)] if self.depth != DEPTHS[0] else []
        pairs += [("split", self.split), ("qid", self.qid)] if self.split and self.qid else []
        return [(name, str(value)) for name, value in pairs if value not in (None, "")]

    def link(self, path: str = "/", **changes: Any) -> str:
        """Return the address of this view, or of one that differs from it."""
        pairs = replace(self, **changes).parameters() if changes else self.parameters()
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def first(self, system: str) -> str:
        """Return the address of this view with another system in the first column."""
        return self.link(systems=(system, *(name for name in self.systems if name != system)))


def read_view(parameters: QueryParams, systems: Sequence[str], usual: Sequence[str]) -> View:
    """Return the view that an address describes.

    Args:
        systems: every system of the run, those that are not available included.
        usual: the systems of an address that names none.

    Raises:
        TooLongError: the query is too long.
        InputError: a system does not exist, or there are too many of them, or the depth is not offered.
    """
    query = parameters.get("q", "").strip()
    names = tuple(dict.fromkeys(name for name in parameters.getlist("system") if name))
    if (first := parameters.get("first")) in names:
        names = tuple(dict.fromkeys([first, *names]))
    depth = parameters.get("depth", str(DEPTHS[0]))
    if len(query) > LONGEST_QUERY:
        raise TooLongError(
            f"The query has {len(query):,} characters; at most {LONGEST_QUERY:,} are searched, and models"
            " read far fewer. Shorten it."
        )
    for name in names:
        if name not in systems:
            hint = nearest(name[:100], systems) or f"; there are: {', '.join(systems)}"
            raise InputError(f"There is no system '{name[:100]}' in this run{hint}.")
    if len(names) > MOST_SYSTEMS:
        raise InputError(f"{len(names)} systems are chosen; at most {MOST_SYSTEMS} fit side by side.")
    if depth not in map(str, DEPTHS):
        raise InputError(f"The depth is '{depth[:20]}'; choose one of {', '.join(map(str, DEPTHS))}.")
    return View(query, names or tuple(usual), int(depth), parameters.get("split"), parameters.get("qid"), chosen=names)
