"""Engines: what answers the queries of each system, made from the files of a run.

`MAKERS` has one function per kind of system; a new kind is one more entry there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from led_pipeline.fetch.hub import is_local
from led_pipeline.files import folder_names
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.needs import Files
from led_pipeline.recipe.stages import Lexicon, Ranker
from led_pipeline.search.indexes import NOTE, checked_note
from led_pipeline.use.records import Hits, Match

if TYPE_CHECKING:
    from led_pipeline.use.encoders import StageModel


class Engine(Protocol):
    """Answers the queries of one system."""

    def search(self, query: str, depth: int) -> Hits: ...

    def score(self, query: str, row: int) -> float | None:
        """Return the score of any passage; None if the system scores only those that it finds."""

    def matches(self, query: str, row: int) -> list[Match]:
        """Return the terms that a query and a passage share; empty for systems without terms."""


class Unavailable(Exception):
    """A system cannot answer; the message says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """The files of a run, and the engines of other systems that an engine may use."""

    recipe: Recipe
    layout: Layout
    passages: int
    threads: int
    engine: Callable[[str], Engine]

    @property
    def root(self) -> Path:
        return Path(self.layout.root)

    def files(self, stage: str) -> Files:
        """Return the paths of a stage's files."""
        return Files(self.recipe, self.layout, (), {self.recipe.tokenizer_of(stage): self._tokens(stage)})

    def _tokens(self, stage: str) -> str:
        """Return the folder of a stage's tokens; a tokenizer's path is relative to the folder that has results/."""
        name, start = self.recipe.tokenizer_of(stage), self.root.absolute().parent.parent
        path = Path(name).relative_to(start) if Path(name).is_relative_to(start) else Path(name)
        local = is_local(name) or (start / path).is_dir()
        return folder_names.of_tokenizer(str(path) if local else name, self.recipe.stages, local)

    def again(self, path: str | Path) -> str:
        """Return the advice to make a file of the run."""
        return f"make it with `snakemake --configfile CONFIG -- {path}`"

    def model(self, stage: str) -> "StageModel":
        from led_pipeline.use.encoders import StageModel  # it loads torch

        precision = self.recipe.model_stage(stage).inference_precision
        return StageModel(
            Path(self.layout.model(stage)), self.recipe.dataset.max_tokens, precision, threads=self.threads
        )

    def check_model(self, stage: str) -> None:
        if not Path(self.layout.model_note(stage)).is_file():
            raise Unavailable(f"it has no model yet, {self.again(self.layout.model(stage))}")

    def present(self, paths: list[str], subject: str) -> list[Path]:
        """Return paths if all of them exist."""
        lost = [path for path in paths if not Path(path).exists()]
        if lost:
            raise Unavailable(f"{subject} {lost[0]} is missing, {self.again(lost[0])}")
        return [Path(path) for path in paths]

    def has_index(self, system: str) -> bool:
        return Path(self.layout.index(system), NOTE).is_file()

    def check_note(self, system: str, **expected: str | int) -> None:
        """Check that an index was built from this collection with these settings."""
        try:
            checked_note(Path(self.layout.index(system)), {**expected, "passages": self.passages})
        except InputError as error:
            raise Unavailable(str(error)) from error


Maker = Callable[[], Engine]  # makes an engine, when its first query comes


def _bm25(run: Run, system: str) -> Maker:
    settings, folder = run.recipe.bm25, run.layout.index(system)
    if not run.has_index(system):
        raise Unavailable(f"its index {folder} is missing, {run.again(folder)}")
    check_lucene()
    run.check_note(system, kind="bm25", language=settings.language)

    def make() -> Engine:
        from led_pipeline.use.bm25 import Bm25Engine
        from led_pipeline.use.lucene import LuceneIndex

        index = LuceneIndex(folder, settings.language, (settings.k1, settings.b), run.threads, run.again(folder))
        return Bm25Engine(index, settings.language)

    return make


def _dense(run: Run, system: str) -> Maker:
    run.check_model(system)
    paths = run.present(run.files(system).passage_vectors(system), "the file of passage vectors")

    def make() -> Engine:
        from led_pipeline.use.dense import DenseEngine

        return DenseEngine(run.model(system), paths)

    return make


def _lexicon(run: Run, system: str) -> Maker:
    run.check_model(system)
    stage = run.recipe.stages[system]
    assert isinstance(stage, Lexicon)
    paths = [Path(path) for path in run.files(system).passage_vectors(system)]
    indexed = run.has_index(system) and run.recipe.search.backend == "anserini" and lucene_fault() is None
    if indexed:
        run.check_note(system, kind="impact", quantisation=stage.quantisation)
        paths = paths if all(path.exists() for path in paths) else []
    else:
        run.present([str(path) for path in paths], "it has no index, and the file of passage vectors")

    def make() -> Engine:
        from led_pipeline.use.lexicon import LexiconEngine
        from led_pipeline.use.lucene import LuceneIndex

        folder = run.layout.index(system)
        index = LuceneIndex(folder, threads=run.threads, again=run.again(folder)) if indexed else None
        return LexiconEngine(run.model(system), paths, stage.quantisation, index)

    return make


def _ranker(run: Run, system: str) -> Maker:
    run.check_model(system)
    stage = run.recipe.stages[system]
    assert isinstance(stage, Ranker)
    tokens = run.present(run.files(system).passage_tokens(system), "the file of passage tokens")
    try:
        candidates = run.engine(stage.rerank.system)
    except Unavailable as error:
        raise Unavailable(f"it re-ranks {stage.rerank.system}, which cannot answer: {error}") from error

    def make() -> Engine:
        from led_pipeline.use.ranker import RankerEngine

        return RankerEngine(run.model(system), candidates, stage.rerank.depth, tokens)

    return make


MAKERS: dict[str, Callable[[Run, str], Maker]] = {
    "bm25": _bm25,
    "dense": _dense,
    "sparse": _lexicon,
    "scores": _ranker,
}


def kind_of(recipe: Recipe, system: str) -> str:
    """Return which of `MAKERS` makes a system's engine."""
    return recipe.stages[system].output or "" if system in recipe.stages else system


def engine_of(run: Run, system: str) -> Engine:
    """Return a system's engine. It reads models, vectors and indexes at its first query, and answers one at a time.

    Raises:
        Unavailable: a file is missing, or the system cannot answer a new query.
    """
    return _Guarded(MAKERS[kind_of(run.recipe, system)](run, system))


class _Guarded:
    def __init__(self, make: Maker):
        self._make = make
        self._lock = Lock()

    @cached_property
    def _engine(self) -> Engine:
        return self._make()

    def search(self, query: str, depth: int) -> Hits:
        with self._lock:
            return self._engine.search(query, depth)

    def score(self, query: str, row: int) -> float | None:
        with self._lock:
            return self._engine.score(query, row)

    def matches(self, query: str, row: int) -> list[Match]:
        with self._lock:
            return self._engine.matches(query, row)


def lucene_fault() -> str | None:
    """Return what is missing to search Lucene indexes, or None."""
    lost = [name for module, name in (("jpype", "JPype1"), ("pyserini", "pyserini")) if not find_spec(module)]
    return f"the package {lost[0]} is missing, install what envs/anserini.txt pins (make env)" if lost else None


def check_lucene() -> None:
    if fault := lucene_fault():
        raise Unavailable(f"it needs Lucene, and {fault}")


def check_names(names: list[str], systems: list[str]) -> None:
    """Check that systems are those of a recipe.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if name not in systems:
            raise InputError(f"no system '{name}'{nearest(name, systems)}; there are {', '.join(systems)}")
