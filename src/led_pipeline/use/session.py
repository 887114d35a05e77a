"""Session: the systems of a run, opened once to answer query after query."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.formats.lines import is_encodable
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.needs import systems as all_systems
from led_pipeline.recipe.recorded import recorded_recipe
from led_pipeline.use.engines import check_names, engine_of
from led_pipeline.use.passages import Passages
from led_pipeline.use.records import Answer, Engine, Hit, Match, Passage
from led_pipeline.use.run_files import Run, Unavailable

LONGEST_QUERY = 65_536  # characters
MOST_HITS = 10_000


class Session:
    """Answers queries with the systems of a run; `open` makes one, and a `with` block ends it.

    Several threads may use it at once; each system answers one query at a time.
    """

    def __init__(self, recipe: Recipe, layout: Layout, names: Sequence[str], threads: int):
        self.recipe, self.layout = recipe, layout
        self.systems: list[str] = []
        self.last_stage = next((name for name in reversed(names) if name in recipe.stages), names[-1])
        self.unavailable: dict[str, str] = {}
        self._passages = Passages(Path(layout.passages))
        self._engines: dict[str, Engine] = {}
        self._run = Run(recipe, layout, len(self._passages), threads, self._engine)
        for name in names:
            try:
                self._engine(name)
            except Unavailable as error:
                self.unavailable[name] = f"{name}: {error}"
            else:
                self.systems.append(name)

    @classmethod
    def open(
        cls, results: Path, *, config: Path | None = None, systems: Sequence[str] | None = None, threads: int = 1
    ) -> "Session":
        """Open the results of a run. Models and vectors are read at a system's first query.

        Args:
            results: the folder of a dataset's results, such as results/demo.
            config: the recipe; report/recipe.json of the results by default.
            systems: the systems to open; all of the recipe by default.
            threads: of every search.

        Raises:
            InputError: there are no such results or systems, or a file is damaged.
        """
        layout = Layout(results)
        recipe = _recipe(results, config)
        names = all_systems(recipe)
        if systems is not None:
            check_names(list(systems), names)
        if not Path(layout.passages).is_file():
            raise InputError(
                f"{layout.passages}: no such file, so this run has not prepared its passages; run it first"
            )
        return cls(recipe, layout, [name for name in names if systems is None or name in systems], threads)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of models, vectors and indexes."""
        self._engines.clear()

    def _engine(self, system: str) -> Engine:
        if system not in self._engines:
            self._engines[system] = engine_of(self._run, system)
        return self._engines[system]

    @property
    def default(self) -> str:
        """The last stage that can answer, in the order of the recipe; another system if no stage can.

        Raises:
            InputError: no system can answer.
        """
        if not self.systems:
            raise InputError("\n".join([f"{self.layout.root}: no system can answer yet", *self.unavailable.values()]))
        return next((name for name in reversed(self.systems) if name in self.recipe.stages), self.systems[-1])

    def check(self, system: str) -> None:
        """Check that a system can answer.

        Raises:
            InputError: it cannot, or there is none of this name.
        """
        self._checked(system)

    def _checked(self, system: str) -> Engine:
        if reason := self.unavailable.get(system):
            raise InputError(reason)
        check_names([system], [*self.systems, *self.unavailable])
        return self._engines[system]

    def search(self, query: str, system: str, depth: int = 10) -> Answer:
        """Return a system's best passages; a blank query has no hits.

        Raises:
            InputError: the system cannot answer, the query is too long or no text, or a file is damaged.
        """
        engine = self._checked(system)
        if not 1 <= depth <= MOST_HITS:
            raise InputError(f"depth: expected 1 to {MOST_HITS:,} passages, got {depth}")
        started = time.perf_counter()
        hits: list[Hit] = []
        if _has_text(query):
            rows, scores = engine.search(query, depth)
            ids = self._passages.ids(rows)
            hits = [Hit(*each) for each in zip(rows.tolist(), ids, scores.tolist(), strict=True)]
        return Answer(system, query, hits, 1_000 * (time.perf_counter() - started))

    def warm(self, system: str) -> None:
        """Load what a system needs, and search once; the next query then takes no longer than others."""
        self.search("a", system, 1)

    def run(
        self, system: str, qids: Sequence[str], queries: Sequence[str], depth: int | None = None
    ) -> Iterator[tuple[str, list[str], list[float]]]:
        """Yield query id, passage ids and scores, as the pipeline writes them for a split.

        Args:
            depth: passages per query; `evaluation.depth` by default.
        """
        depth = depth or self.recipe.evaluation.depth
        drop_same_id = self.recipe.dataset.exclude_query_id
        for qid, query in zip(qids, queries, strict=True):
            hits = self.search(query, system, depth + drop_same_id).hits
            if drop_same_id:
                hits = [hit for hit in hits if hit.id != qid]
            yield qid, [hit.id for hit in hits[:depth]], [hit.score for hit in hits[:depth]]

    def passage(self, row: int) -> Passage:
        """Return a passage by its row."""
        return self._passages.passage(row)

    def row_of(self, pid: str) -> int | None:
        """Return the row of a passage by its id; None if the collection lacks it."""
        return self._passages.row_of(pid)

    def matches(self, system: str, query: str, row: int) -> list[Match]:
        """Return the terms that a query and a passage share, the largest share of the score first.

        They are decoded word pieces. Only lexicon stages have some; the weights are impacts, as in their scores.
        """
        engine = self._checked(system)
        return engine.matches(query, row) if _has_text(query) else []

    def score(self, system: str, query: str, row: int) -> float | None:
        """Return a system's score of any passage; None if it scores only those that it finds (BM25)."""
        engine = self._checked(system)
        return engine.score(query, row) if _has_text(query) else None


def _has_text(query: str) -> bool:
    """Return whether a query has visible text.

    Raises:
        InputError: it is too long, or not Unicode text.
    """
    if len(query) > LONGEST_QUERY:
        raise InputError(f"query: {len(query):,} characters, expected at most {LONGEST_QUERY:,}; shorten it")
    if not is_encodable(query):
        raise InputError("query: its bytes are not UTF-8, expected UTF-8 text; check the terminal's encoding")
    return not is_blank(query)


def _recipe(results: Path, config: Path | None) -> Recipe:
    """Return the recipe of a run.

    Raises:
        InputError: there is no such run, no recipe, or the recipe is that of another dataset.
    """
    if config is None:
        return recorded_recipe(results)
    if not config.is_file():
        raise InputError(f"{config}: no such file, expected the config of the run, such as config/demo.yaml")
    values = read_yaml(config) or {}
    # The user's code is not needed any more: models keep their copy.
    recipe = load_recipe(values, trained=lambda _: values["stages"], quiet=True)
    if recipe.dataset.name != results.name:
        raise InputError(
            f"{config}: its dataset is '{recipe.dataset.name}', and the results are {results}; name the config that"
            " this run was started with"
        )
    return recipe
