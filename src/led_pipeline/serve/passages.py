"""Passages: the page of one passage, with its scores for a query, its surroundings and its part in the trainings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from led_pipeline.files.errors import InputError
from led_pipeline.serve.answers import SEARCHED
from led_pipeline.serve.drawn import DrawnFor, Use, drawn_for, stages, trainset_path
from led_pipeline.serve.nearest import Nearest, nearest, vector_files
from led_pipeline.serve.site import Site
from led_pipeline.serve.view import View, read_view
from led_pipeline.use.records import Passage

AROUND = 3  # passages before and after it
NEAREST = 8
LISTED = 12  # queries of a list; the rest is counted


@dataclass(frozen=True)
class QueryUse:
    """A training query, and in how many examples of it the passage is."""

    qid: str
    text: str
    examples: int


@dataclass(frozen=True)
class Role:
    """The queries that a passage is a positive, or a negative, of in the trainset of one stage."""

    stage: str
    name: str
    queries: list[QueryUse]
    more: int
    share: float


class PassagePages:
    """The endpoints about passages; they run in threads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def by_id(self, request: Request) -> Response:
        """Answer `/passage?id=...`: go to the page of the passage with this id."""
        pid = request.query_params.get("id", "").strip()
        row = self._site.session.row_of(pid) if pid else None
        if row is None:
            raise InputError(
                f"There is no passage with the id '{pid[:200]}' in this collection; ids must match exactly."
            )
        view = read_view(request.query_params, self._site.systems, self._site.usual)
        return RedirectResponse(view.link(f"/passages/{row}"), status_code=302)

    def passage(self, request: Request) -> Response:
        """Answer `/passages/ROW`."""
        site, name = self._site, request.path_params["row"]
        row = int(name) if name.isascii() and name.isdigit() and len(name) < 12 else site.passages
        if row >= site.passages:
            raise HTTPException(
                404, f"There is no such passage: rows of this collection are 0 to {site.passages - 1:,}."
            )
        view = read_view(request.query_params, site.systems, site.usual)
        passage = site.session.passage(row)
        judged = site.splits.find(view.query, view.split, view.qid) if view.query else None
        return site.templates.stream(
            "passage.html.j2",
            view=view,
            passage=passage,
            judged=judged,
            grade=judged.grades.get(passage.id) if judged else None,
            scored=site.answers.scores(view.query, view.systems, passage, judged) if view.query else [],
            around=self._around(row),
            judging=self._judging(passage.id),
            roles=self._roles(row),
            similar=self._similar(view, row),
            searched=SEARCHED,
        )

    def _around(self, row: int) -> list[Passage]:
        rows = range(max(0, row - AROUND), min(self._site.passages, row + AROUND + 1))
        return [self._site.session.passage(each) for each in rows]

    def _judging(self, pid: str) -> Iterator[tuple[str, list[tuple[QueryUse, int]], int]]:
        """Yield each split whose qrels have the passage: its name, the queries with their grades, how many more."""
        for name in self._site.splits.names:
            queries = self._site.splits.queries(name)
            judging = queries.judgements.of_passage(pid)
            uses = [
                (QueryUse(qid, queries.texts[queries.row_of_id[qid]], 1), grade)
                for qid, grade in judging[:LISTED]
                if qid in queries.row_of_id
            ]
            if uses:
                yield name, uses, len(judging) - len(uses)

    def _roles(self, row: int) -> Iterator[Role]:
        """Yield what the passage is in the trainset of each stage."""
        site = self._site
        for stage in stages(site.recipe, site.layout):
            path = trainset_path(site.layout, stage)
            if path is not None:
                yield from self._roles_in(drawn_for(path, stage, row))

    def _roles_in(self, drawn: DrawnFor) -> Iterator[Role]:
        for name, uses in (("positive", drawn.positive), ("negative", drawn.negative)):
            if uses or drawn.share < 1:
                yield Role(drawn.stage, name, self._texts(uses[:LISTED]), max(0, len(uses) - LISTED), drawn.share)

    def _texts(self, uses: Sequence[Use]) -> list[QueryUse]:
        queries = self._site.splits.queries("train")
        return [QueryUse(queries.ids[use.query], queries.texts[use.query], use.examples) for use in uses]

    def _similar(self, view: View, row: int) -> Iterator[tuple[Nearest, list[tuple[Passage, float]]]]:
        """Yield the nearest passages by a dense system: one of the view's, or else the last of the recipe."""
        site = self._site
        dense = [name for name in site.recipe.with_output("dense") if vector_files(site.recipe, site.layout, name)]
        chosen = [name for name in view.systems if name in dense] or dense[-1:]
        for stage in chosen[:1]:
            result = nearest(vector_files(site.recipe, site.layout, stage), stage, row, NEAREST)
            if result:
                pairs = zip(result.rows, result.similarities, strict=True)
                yield result, [(site.session.passage(each), similarity) for each, similarity in pairs]
