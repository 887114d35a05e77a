"""Engines: checks of the search engines that need more than Python packages."""

from collections.abc import Callable, Iterator

from led_pipeline.files.errors import InputError
from led_pipeline.plan.finding import Finding
from led_pipeline.search.java import find_jar, find_java, java_version


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


ENGINES: dict[str, Callable[[], Iterator[Finding]]] = {"anserini": java, "opensearch": opensearch}
