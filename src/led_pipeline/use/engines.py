"""Engines: what answers the queries of each system, made from the files of a run.

`MAKERS` has one function per kind of system; a new kind is one more entry there.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Lexicon, Ranker
from led_pipeline.recipe.variants import VariantSettings
from led_pipeline.use.records import Engine, Hits, Match
from led_pipeline.use.run_files import Run, Unavailable, check_lucene, check_node, lucene_fault

if TYPE_CHECKING:
    from led_pipeline.use.lexicon import TermIndex

Maker = Callable[[], Engine]  # makes an engine, when its first query comes


def _bm25(run: Run, system: str) -> Maker:
    settings, folder, opensearch = run.recipe.bm25, run.layout.index(system), run.on_node
    if not run.has_index(system):
        raise Unavailable(f"its index {folder} is missing, {run.again(folder)}")
    (check_node if opensearch else check_lucene)()
    parameters = {"k1": settings.k1, "b": settings.b} if opensearch else {}
    note = run.checked_note(system, kind="bm25", language=settings.language, **parameters)

    def make() -> Engine:
        from led_pipeline.use.bm25 import Bm25Engine
        from led_pipeline.use.lucene import LuceneIndex
        from led_pipeline.use.node import NodeIndex

        if opensearch:
            return Bm25Engine(NodeIndex(folder, note, settings.language))
        bm25 = settings.k1, settings.b
        return Bm25Engine(LuceneIndex(folder, settings.language, bm25, run.threads, run.again(folder)))

    return make


def _dense(run: Run, system: str) -> Maker:
    run.check_model(system)
    paths = run.present(run.files(system).passage_vectors(system), "the file of passage vectors")

    def make() -> Engine:
        from led_pipeline.use.dense import DenseEngine

        return DenseEngine(run.model(system), paths)

    return make


def _lexicon(run: Run, system: str) -> Maker:
    """Return the maker of a lexicon stage's engine: with the index if there is one, otherwise with the vectors.

    Both give the same ranking. The index is the default, because the time of a search hardly grows with the collection,
    while the vectors are all read for every query.
    """
    run.check_model(system)
    stage, folder, kind = run.recipe.stages[system], run.layout.index(system), run.recipe.search.lexicon_engine
    assert isinstance(stage, Lexicon)
    paths = [Path(path) for path in run.files(system).passage_vectors(system)]
    indexed = run.has_index(system) and (kind != "anserini" or lucene_fault() is None)
    note: dict[str, str | float] = {}
    quantisation = None if kind == "opensearch" else stage.quantisation
    if indexed:
        expected = {} if quantisation is None else {"quantisation": quantisation}
        note = run.checked_note(system, kind="postings" if kind == "exact" else "impact", **expected)
        paths = paths if all(path.exists() for path in paths) else []
    else:
        run.present([str(path) for path in paths], "it has no index, and the file of passage vectors")
    if indexed and kind == "opensearch":
        check_node()

    def make() -> Engine:
        from led_pipeline.use.lexicon import LexiconEngine

        index = _term_index(run, kind, folder, note, stage.quantisation) if indexed else None
        return LexiconEngine(run.model(system), paths, quantisation, index)

    return make


def _term_index(run: Run, kind: str, folder: str, note: dict[str, str | float], quantisation: int) -> "TermIndex":
    from led_pipeline.use.lucene import LuceneIndex
    from led_pipeline.use.node import NodeIndex
    from led_pipeline.use.postings import PostingIndex

    if kind == "opensearch":
        return NodeIndex(folder, note)
    if kind == "exact":
        return PostingIndex(folder, quantisation, run.again(folder))
    return LuceneIndex(folder, threads=run.threads, again=run.again(folder))


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


def _variant(run: Run, system: str) -> Maker:
    variant = run.recipe.variants[system]
    run.check_model(variant.of)
    paths = run.present(run.files(variant.of).passage_vectors(variant.of), "the file of passage vectors")
    normalize = getattr(run.recipe.stages[variant.of], "normalize", False)

    def make() -> Engine:
        from led_pipeline.use.variant import VariantEngine

        return VariantEngine(run.model(variant.of), paths, VariantSettings(**variant.model_dump(), normalize=normalize))

    return make


def _fusion(run: Run, system: str) -> Maker:
    fusion = run.recipe.fusion[system]
    try:
        parts = [run.engine(name) for name in fusion.systems]
    except Unavailable as error:
        raise Unavailable(f"it fuses {', '.join(fusion.systems)}, and one of them cannot answer: {error}") from error

    def make() -> Engine:
        from led_pipeline.use.fusion import FusionEngine

        return FusionEngine(fusion, parts, run.recipe.evaluation.depth)

    return make


MAKERS: dict[str, Callable[[Run, str], Maker]] = {
    "bm25": _bm25,
    "dense": _dense,
    "sparse": _lexicon,
    "scores": _ranker,
    "variant": _variant,
    "fusion": _fusion,
}


def kind_of(recipe: Recipe, system: str) -> str:
    """Return which of `MAKERS` makes a system's engine."""
    if system in recipe.variants:
        return "variant"
    if system in recipe.fusion:
        return "fusion"
    return recipe.stages[system].output or "" if system in recipe.stages else system


def engine_of(run: Run, system: str) -> Engine:
    """Return a system's engine. It reads models, vectors and indexes at its first query, and answers one at a time.

    Raises:
        Unavailable: a file is missing, or the system cannot answer a new query.
    """
    maker = MAKERS.get(kind_of(run.recipe, system))
    if maker is None:
        raise Unavailable("its rankings come from files, and it cannot answer new queries")
    return _Guarded(maker(run, system))


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


def check_names(names: list[str], systems: list[str]) -> None:
    """Check that systems are those of a recipe.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if name not in systems:
            raise InputError(f"no system '{name}'{nearest(name, systems)}; there are {', '.join(systems)}")
