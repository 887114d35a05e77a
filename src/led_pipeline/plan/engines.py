"""Engines: checks of the search engines, and of torch.compile, which need more than Python packages."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

from led_pipeline.files.errors import InputError
from led_pipeline.plan.finding import Finding
from led_pipeline.plan.jobs import Demand
from led_pipeline.recipe.graph import Recipe
from led_pipeline.search.java import find_jar, find_java, java_version
from led_pipeline.search.kernel import cache_folder


def opensearch() -> Iterator[Finding]:
    """The node that BM25 and the lexicon stages are searched on."""
    from led_pipeline.search.opensearch_node import connect  # only where a recipe asks for it

    try:
        answer = connect().info()["version"]
        yield Finding("ok", "OpenSearch", f"version {answer['number']} answers")
    except InputError as error:
        yield Finding("fatal", "OpenSearch", str(error))


def java() -> Iterator[Finding]:
    """Java and the jar that BM25 and the impact indexes need."""
    try:
        executable = find_java()
        yield Finding("ok", "Java", f"version {java_version(executable)} ({executable})")
    except InputError as error:
        yield Finding("fatal", "Java", str(error))
    try:
        yield Finding("ok", "Anserini", find_jar().name)
    except InputError as error:
        yield Finding("fatal", "Anserini", str(error))


def exact() -> Iterator[Finding]:
    """The package that compiles exact lexicon search, and the folder that keeps the result."""
    try:
        yield Finding("ok", "numba", f"version {version('numba')}, compiled loops are kept in {cache_folder()}")
    except PackageNotFoundError:
        yield Finding(
            "fatal", "numba", "search.lexicon: exact needs the package numba; pip install -c envs/constraints.txt numba"
        )


def compiler(recipe: Recipe, elsewhere: bool) -> Iterator[Finding]:
    """A C compiler, which torch.compile calls where a stage asks for it (`compile`).

    Args:
        elsewhere: whether other machines compute.
    """
    stages = [name for name in recipe.trained if recipe.model_stage(name).compile]
    if not stages or elsewhere:
        return
    names = [os.environ.get(name) for name in ("CC", "CXX")]
    path = next((path for name in (*names, "g++", "gcc", "clang") if name and (path := shutil.which(name))), None)
    if path:
        yield Finding("ok", "compiler", path)
    else:
        yield Finding(
            "fatal",
            "compiler",
            f"stages.{stages[0]}.compile: torch.compile needs a C++ compiler, and there is none here; install one (on"
            " Debian and Ubuntu: apt install g++), or leave this key out",
        )


ENGINES: dict[str, Callable[[], Iterator[Finding]]] = {"anserini": java, "opensearch": opensearch, "exact": exact}


def engines(recipe: Recipe) -> list[str]:
    """Return the search engines that a recipe needs; with exact lexicon search, that of BM25 only if BM25 is ranked."""
    if recipe.search.lexicon != "exact":
        return [recipe.search.backend]
    demand = Demand.of(recipe)
    ranked = {system for system, _ in demand.rankings | demand.validation}
    lexicon = ["exact"] if ranked & set(recipe.with_output("sparse")) else []
    return [*([recipe.search.backend] if "bm25" in ranked else []), *lexicon]


def check_engines(recipe: Recipe) -> Iterator[Finding]:
    """Everything that a recipe's search engines need."""
    for name in engines(recipe):
        yield from ENGINES.get(name, lambda: iter(()))()
