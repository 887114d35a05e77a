"""`led search`: ask the systems of a run, once, at a prompt, or with a file of queries."""

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from led_pipeline.commands.options import Results, complete_system, results_folder
from led_pipeline.files.errors import InputError
from led_pipeline.plan.machine import cores

if TYPE_CHECKING:
    from led_pipeline.use.session import Session

DEPTH = 10
PROMPT = "query> "
SYSTEM = "{system}"  # in --out: replaced by the name of each system


def search(
    query: Annotated[str | None, typer.Argument(help="default: a prompt, or the lines of a pipe")] = None,
    results: Results = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            "--system",
            "-s",
            help="may be repeated; default: the last stage of the recipe that ranks",
            autocompletion=complete_system,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", "-k", min=1, help=f"passages per query; default: {DEPTH}, with --out the recipe's"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object per query and system")] = False,
    queries: Annotated[Path | None, typer.Option(help="a file of queries: id TAB text, or .jsonl")] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"with --queries: the TREC run to write; {SYSTEM} becomes the system's name")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="the recipe; default: report/recipe.json of the results")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="threads of a search; default: all processors")] = None,
) -> None:
    """Search with what a run trained: one query, a prompt, or a file of queries."""
    names = list(dict.fromkeys(system or []))
    _check(query, names, queries, out)
    from led_pipeline.use.session import Session

    with Session.open(results_folder(results), config=config, threads=threads or cores()) as session:
        names = _answering(session, names)
        if queries and out:
            _write_runs(session, names, queries, out, depth)
            return
        for name in names:
            session.warm(name)  # so that the times below are those of searches
        complete = True
        for number, (qid, text) in enumerate(_texts(session, query, queries)):
            if number and not json:
                print()
            complete &= _answer(session, (qid, text), names, depth or DEPTH, json, alone=query is not None)
        sys.stdout.flush()
        if not complete:
            raise typer.Exit(2)


def _check(query: str | None, systems: Sequence[str], queries: Path | None, out: Path | None) -> None:
    if query is not None and queries:
        raise InputError("--queries: a query and a file of queries are named, expected one of them")
    if out and not queries:
        raise InputError("--out: a run needs a file of queries with ids, name one with --queries")
    if out and len(systems) > 1 and SYSTEM not in str(out):
        raise InputError(f"--out: {len(systems)} systems need {len(systems)} files, write {SYSTEM} into the name")


def _answering(session: "Session", systems: Sequence[str]) -> list[str]:
    """Return the systems to ask: those that are named, or the default; a note says which stage it replaces."""
    for name in systems:
        session.check(name)
    if systems:
        return list(systems)
    last, default = session.last_stage, session.default
    if last != default:
        print(f"{session.unavailable[last]}; searching with {default}", file=sys.stderr)
    return [default]


def _texts(session: "Session", query: str | None, queries: Path | None) -> Iterator[tuple[str | None, str]]:
    """Yield ids (None: typed) and texts of the queries, from the command line, a file, a prompt or a pipe."""
    from led_pipeline.use.queries import read_queries, typed

    dataset = session.recipe.dataset
    if queries:
        yield from zip(*read_queries(queries, dataset), strict=True)
        return
    for text in [query] if query is not None else _lines():
        yield None, typed(text, dataset)


def _lines() -> Iterator[str]:
    """Yield the lines of standard input; at a terminal, with a prompt, line editing and the history of this prompt."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    if not sys.stdin.isatty():
        yield from (line for text in sys.stdin if (line := text.rstrip("\r\n")).strip())
        return
    with suppress(ImportError):
        import readline  # noqa: F401 (input() uses it)
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            print()
            return
        if line.strip():
            yield line


def _answer(
    session: "Session", query: tuple[str | None, str], systems: Sequence[str], depth: int, json: bool, alone: bool
) -> bool:
    """Print the answers to one query, and return whether there were no errors; a query that is alone raises them."""
    from led_pipeline.use.shown import Shown, show_query

    qid, text = query
    try:
        answers = [session.search(text, system, depth) for system in systems]
    except InputError as error:
        if alone:
            raise
        print(f"error: {error}", file=sys.stderr)
        return False
    if not json and not alone and not sys.stdin.isatty():
        show_query(qid, text)
    for answer in answers:
        view = Shown(answer, [session.passage(hit.row) for hit in answer.hits], qid)
        if json:
            print(view.as_json(), flush=True)
        else:
            view.print()
    return True


def _write_runs(session: "Session", systems: Sequence[str], queries: Path, out: Path, depth: int | None) -> None:
    """Write one run per system, as the pipeline writes them for its splits."""
    from led_pipeline.data.formats.judgements import write_run
    from led_pipeline.use.queries import read_queries

    _check(None, systems, queries, out)
    ids, texts = read_queries(queries, session.recipe.dataset)
    for system in systems:
        path = Path(str(out).replace(SYSTEM, system))
        started, empty = time.perf_counter(), 0

        def with_results(system: str = system) -> Iterator[tuple[str, list[str], list[float]]]:
            nonlocal empty
            for result in session.run(system, ids, texts, depth):
                empty += not result[1]
                if result[1]:
                    yield result

        write_run(path, with_results(), system)
        seconds = time.perf_counter() - started
        without = f", {empty:,} without results" if empty else ""
        print(f"{path}: {len(ids):,} queries in {seconds:.1f} s{without}", file=sys.stderr)
