"""Pages: the search with its columns, the list of queries, and errors."""

from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from led_pipeline.files.errors import InputError
from led_pipeline.serve.differences import ORDERS, Order, QueryLine, page
from led_pipeline.serve.site import Site
from led_pipeline.serve.view import LONGEST_QUERY, TooLongError, View, read_view

EXAMPLES = 6  # queries on the first page


@dataclass(frozen=True)
class Examples:
    """Queries on which two systems differ most, by turns won by the one and the other."""

    lines: list[QueryLine]
    split: str
    a: str
    b: str
    measure: str


class Pages:
    """The endpoints; they run in threads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def search(self, request: Request) -> Response:
        """Answer `/`: the columns of a query, or a hint without one."""
        site = self._site
        view = read_view(request.query_params, site.systems, site.usual)
        if not view.query:
            return site.templates.page("start.html.j2", view=view, examples=self._examples(view))
        judged = site.splits.find(view.query, view.split, view.qid)
        columns = site.answers.columns(view.query, view.systems, view.depth, judged)
        return site.templates.stream("search.html.j2", view=view, judged=judged, columns=columns)

    def _examples(self, view: View) -> Examples | None:
        """Return the queries on which the first two systems differ most, if they were measured."""
        site = self._site
        for split in site.splits.evaluated if len(view.systems) > 1 else []:
            queries, (a, b) = site.splits.queries(split), view.systems[:2]
            if measures := site.differences.measures(a, b, queries):
                comparison = site.differences.compare(a, b, measures[0], queries)
                orders: tuple[Order, Order] = ("second", "first")
                best, worst = (page(queries, comparison, order, "", 1).lines[:EXAMPLES] for order in orders)
                by_turns = [line for pair in zip(best, worst, strict=True) for line in pair]
                lines = list(dict.fromkeys(line for line in by_turns if line.a != line.b))[:EXAMPLES]
                return Examples(lines, split, a, b, measures[0])
        return None

    def queries(self, request: Request) -> Response:
        """Answer `/queries`: those of a split, by how much two systems differ."""
        site, parameters = self._site, request.query_params
        if not site.splits.names:
            raise InputError("This run has no prepared queries; type one of your own.")
        view = read_view(parameters, site.systems, site.usual)
        queries = site.splits.queries(parameters.get("split") or site.splits.names[0])
        a, b = (view.systems * 2 or ("", ""))[:2]
        measures = site.differences.measures(a, b, queries)
        measure = parameters.get("measure", "")
        measure = measure if measure in measures else next(iter(measures), "")
        order = parameters.get("order", ORDERS[0])
        number = parameters.get("page", "1")
        if order not in ORDERS or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InputError(f"The address names no page of the list: order '{order[:20]}', page '{number[:20]}'.")
        comparison = site.differences.compare(a, b, measure, queries) if measure else None
        words = parameters.get("words", "")[:200]
        return site.templates.page(
            "queries.html.j2",
            view=view,
            split=queries.split,
            a=a,
            b=b,
            measures=measures,
            measure=measure,
            order=order,
            words=words,
            comparison=comparison,
            page=page(queries, comparison, order, words, int(number)),
            total=len(queries.ids),
        )

    def help(self, request: Request) -> Response:
        """Answer `/help`."""
        return self._site.templates.page("help_page.html.j2", view=self._view())

    # --- errors

    def _view(self, query: str = "") -> View:
        return View(query, self._site.usual)

    def wrong_input(self, request: Request, error: Exception) -> Response:
        """Answer with the sentence of an InputError."""
        too_long = isinstance(error, TooLongError)
        query = request.query_params.get("q", "")[: 10 * LONGEST_QUERY] if too_long else ""
        view = self._view(query)
        title = "This query is too long" if too_long else "This does not work"
        return self._site.templates.page(
            "error.html.j2", 414 if too_long else 400, view=view, title=title, sentence=error
        )

    def http_error(self, request: Request, error: Exception) -> Response:
        """Answer a request for a page that does not exist."""
        assert isinstance(error, HTTPException)
        sentence = error.detail
        if sentence == HTTPStatus(error.status_code).phrase:  # of Starlette, which says no more
            of_status = {404: "There is no such page.", 405: "Pages can only be read here."}
            sentence = of_status.get(error.status_code, sentence)
        title = "Not here" if error.status_code == 404 else "This does not work"
        return self._site.templates.page(
            "error.html.j2", error.status_code, view=self._view(), title=title, sentence=sentence
        )

    def failure(self, request: Request, error: Exception) -> Response:
        """Answer after an error of the program; its traceback is in the terminal."""
        sentence = "That is an error of the program, not yours. The terminal of led serve has the details."
        return self._site.templates.page(
            "error.html.j2", 500, view=self._view(), title="Something went wrong", sentence=sentence
        )
