"""What the searches through an index share: the note in its folder, the vectors it is made of, and the command line."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from led_pipeline.data.tables import Ranking, count_rows, write_rankings
from led_pipeline.files import InputError, read_json
from led_pipeline.search.exact import SparseVectors

NOTE = "note.json"


def checked_note(index: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """Return the note about an index.

    Raises:
        InputError: there is no note, or the index was built from something else.
    """
    if not (index / NOTE).is_file():
        raise InputError(f"{index}: not an index built by this module, there is no {NOTE} in it")
    note = read_json(index / NOTE)
    for key, value in expected.items():
        if note.get(key) != value:
            raise InputError(f"{index}: its {key} is {note.get(key)}, this search expects {value}; build it again")
    return note


def no_hits(index: Path, queries: int) -> InputError:
    """Return the error of a search that found nothing for any query."""
    return InputError(f"{index}: no query of {queries} has a single hit; does the index belong to these queries?")


def read_shards(vectors: Sequence[Path], passages: Path) -> tuple[list[tuple[Path, SparseVectors]], int]:
    """Return the vectors of all passages, given as files in row order, and their number.

    Raises:
        InputError: they are not as many as the passages.
    """
    shards = [(path, SparseVectors.read(path)) for path in vectors]
    rows, expected = sum(len(shard) for _, shard in shards), count_rows(passages)
    if rows != expected:
        raise InputError(f"{vectors[0]}: {rows} vectors in {len(vectors)} files for the {expected} rows of {passages}")
    return shards, rows


def parser(description: str, threads: str | None = None) -> tuple[argparse.ArgumentParser, dict]:
    """Return a command line with the four commands and what they share, and the parser of each command by name."""
    whole = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(dest="command", required=True)
    for name in ("bm25-index", "bm25-search", "impact-index", "impact-search"):
        command = commands.add_parser(name)
        command.add_argument("--passages", type=Path, required=True)
        command.add_argument("--threads", type=int, required=True, help=threads)
        command.add_argument("--out", type=Path, required=True)
        if name.endswith("search"):
            command.add_argument("--index", type=Path, required=True)
            command.add_argument("--hits", type=int, required=True)
            command.add_argument("--shard", type=int, default=0, help="which of the shards of the queries to search")
            command.add_argument("--shards", type=int, default=1)
    commands.choices["bm25-search"].add_argument("--queries", type=Path, required=True)
    commands.choices["impact-index"].add_argument("--vectors", type=Path, nargs="+", required=True)
    commands.choices["impact-search"].add_argument("--query-vectors", type=Path, required=True)
    return whole, commands.choices


def run(command: str, out: Path, settings: dict[str, Any], functions: dict[str, Callable[..., Any]]) -> None:
    """Run a command: an index is made at `out`, the rankings of a search are written there."""
    if command.endswith("index"):
        functions[command](out=out, **settings)
    else:
        found: Iterator[Ranking] = functions[command](**settings)
        write_rankings(out, found)
