"""Common parts of the index-based engines: the index's note, its input texts and vectors, and the command line."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from led_pipeline.data.tables import Ranking, count_rows, read_rows, write_rankings
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.languages import CODES
from led_pipeline.search.letters import terms, uncut_share

NOTE = "note.json"
SAMPLE = 1_000  # passages whose script is checked
OLD_DEFAULTS = {"language": "en"}  # values that older notes do not contain


def checked_note(index: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """Return the note about an index.

    Raises:
        InputError: there is no note, or the index was built from other data or settings.
    """
    if not (index / NOTE).is_file():
        raise InputError(f"{index}: not an index of this pipeline, it has no {NOTE}; build it again")
    note = read_json(index / NOTE)
    for key, value in expected.items():
        actual = note.get(key, OLD_DEFAULTS.get(key))
        if actual != value:
            raise InputError(f"{index}: its {key} is {actual}, this search expects {value}; build it again")
    return dict(note)


def no_hits(index: Path, queries: int) -> InputError:
    """Return the error of a search without a hit for any query."""
    language = read_json(index / NOTE).get("language")
    hint = f", and are they in the language of bm25.language ({language})?" if language else "?"
    return InputError(f"{index}: none of {queries} queries has any hit; does the index belong to these queries{hint}")


def read_passages(passages: Path, language: str) -> Iterator[str]:
    """Yield title and text of every passage as the one string that the engine indexes."""
    for batch in read_rows(passages, 0, count_rows(passages), ["title", "text"]):
        for title, text in zip(batch["title"], batch["text"], strict=True):
            yield terms(f"{title} {text}", language)


def read_queries(queries: Path, start: int, stop: int, language: str) -> Iterator[str]:
    """Yield the queries of a range of rows, prepared for the engine."""
    for batch in read_rows(queries, start, stop, ["text"]):
        yield from (terms(text, language) for text in batch["text"])


def check_language(passages: Path, language: str) -> None:
    """Check that the analysis of the default language, English, can split the passages into words.

    Raises:
        InputError: most letters of the first passages belong to a script without spaces, which English does not split.
    """
    share = uncut_share(islice(read_passages(passages, language), SAMPLE)) if language == "en" else 0
    if share > 0.5:
        raise InputError(
            f"{passages}: {share:.0%} of the letters belong to a script without spaces, which the analysis of English"
            " does not split into words, so that BM25 finds next to nothing; set bm25.language: bigrams (or th, for"
            " Thai with a full JDK)"
        )


def read_shards(vectors: Sequence[Path], passages: Path) -> tuple[list[tuple[Path, SparseVectors]], int]:
    """Read the vectors of all passages from files in row order; return them and their number.

    Raises:
        InputError: the number of vectors differs from that of the passages.
    """
    shards = [(path, SparseVectors.read(path)) for path in vectors]
    rows, expected = sum(len(shard) for _, shard in shards), count_rows(passages)
    if rows != expected:
        raise InputError(f"{vectors[0]}: {rows} vectors in {len(vectors)} files for the {expected} rows of {passages}")
    return shards, rows


def parser(
    description: str | None, threads: str | None = None
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return a parser with the four commands and their common options, and each command's parser by name.

    Args:
        threads: the help text of --threads.
    """
    top = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("bm25-index", "bm25-search", "impact-index", "impact-search"):
        command = commands.add_parser(name)
        command.add_argument("--passages", type=Path, required=True)
        command.add_argument("--threads", type=int, required=True, help=threads)
        command.add_argument("--out", type=Path, required=True)
        if name.endswith("search"):
            command.add_argument("--index", type=Path, required=True)
            command.add_argument("--hits", type=int, required=True)
            command.add_argument("--shard", type=int, default=0, help="number of the shard of the queries to search")
            command.add_argument("--shards", type=int, default=1)
    commands.choices["bm25-search"].add_argument("--queries", type=Path, required=True)
    for name in ("bm25-index", "bm25-search"):
        commands.choices[name].add_argument("--language", choices=CODES, default="en", help="as bm25.language")
    commands.choices["impact-index"].add_argument("--vectors", type=Path, nargs="+", required=True)
    commands.choices["impact-search"].add_argument("--query-vectors", type=Path, required=True)
    return top, commands.choices


def run(command: str, out: Path, arguments: dict[str, Any], functions: dict[str, Callable[..., Any]]) -> None:
    """Run a command, which writes an index or rankings to `out`."""
    if command.endswith("index"):
        functions[command](out=out, **arguments)
    else:
        rankings: Iterator[Ranking] = functions[command](**arguments)
        write_rankings(out, rankings)
