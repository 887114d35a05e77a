"""Build a Lucene index of JSON documents with Anserini, and answer topics from it; ids are the caller's."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar
from xml.sax.saxutils import escape

from led_pipeline.files.atomic import scratch
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.java import run_java, run_java_into

FILE_ROWS = 50_000  # passages per file given to Anserini, which reads a file in one thread
T = TypeVar("T")

# Lucene refuses a query of more than 1,024 terms unless the program raises the limit before it searches. The jar
# includes Jetty, which makes the static calls that a file lists; it has its own copy of the DTD and fetches nothing.
_CALLS = """<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "https://www.eclipse.org/jetty/configure_10_0.dtd">
<Configure class="java.lang.Object">
  <Call class="org.apache.lucene.search.IndexSearcher" name="setMaxClauseCount"><Arg type="int">10000000</Arg></Call>
  <Call class="io.anserini.search.SearchCollection" name="main">
    <Arg><Array type="java.lang.String">{items}</Array></Arg>
  </Call>
</Configure>
"""


def fill_index(
    index: Path, documents: Iterable[str], rows: int, flags: Sequence[str], threads: int, heap_mb: int, name: Path
) -> None:
    """Index `rows` documents, each a JSON object with an id, into a new folder; errors name `name`.

    Raises:
        InputError: documents are missing from the index; Anserini omits unusable ones without failing.
    """
    with scratch(index) as folder:
        with Progress("convert", rows, "passages") as progress:
            _write_documents(folder, documents, max(1, min(FILE_ROWS, -(-rows // threads))), progress)
        arguments = ["-input", str(folder), "-index", str(index), "-generator", "DefaultLuceneDocumentGenerator"]
        arguments += ["-threads", str(threads), "-memoryBuffer", str(heap_mb // 2), *flags]
        with Progress("index", rows, "passages") as progress:
            watch = _counted(r"([\d,]+) documents indexed", progress)
            run_java("io.anserini.index.IndexCollection", arguments, heap_mb, threads, watch=watch)
        indexed = _count_documents(index, heap_mb)
        if indexed != rows:
            raise InputError(
                f"{name}: {indexed} of {rows} passages were indexed; Anserini omits passages of white space only and"
                " everything after a line that it cannot read, see its log above"
            )


def _counted(pattern: str, progress: Progress) -> Callable[[str], None]:
    """Return a function that takes a log of Anserini, line by line, and gives the counts in it to `progress`."""
    count, before = re.compile(pattern), progress.done

    def watch(line: str) -> None:
        if match := count.search(line):
            progress.reach(before + int(match[1].replace(",", "")))

    return watch


def _write_documents(folder: Path, documents: Iterable[str], rows_per_file: int, progress: Progress) -> None:
    lines, first = iter(documents), 0
    while group := [f"{document}\n" for document in islice(lines, rows_per_file)]:
        (folder / f"{first:010d}.jsonl").write_text("".join(group), encoding="utf-8")
        first += len(group)
        progress.reach(first)


def _count_documents(index: Path, heap_mb: int) -> int:
    """Return Lucene's count of the documents in an index."""
    log = run_java("io.anserini.index.IndexReaderUtils", ["-index", str(index), "-stats"], heap_mb, threads=1)
    counts = [int(count) for line in log for count in re.findall(r"^documents: +(\d+)$", line)]
    if len(counts) != 1:
        raise InputError(f"{index}: Anserini does not print how many documents the index has, see its log above")
    return counts[0]


def answers(
    index: Path, folder: Path, topics: Sequence[str], flags: Sequence[str], hits: int, threads: int, heap_mb: int,
    read: Callable[[io.BufferedReader], T], progress: Progress | None = None,
) -> T:  # fmt: skip
    """Return what `read` parses from the TREC run that Anserini writes about topics, lines `id TAB topic`.

    Args:
        folder: an existing folder for the topics.
        progress: counts the answered topics.

    Raises:
        InputError: Anserini did not answer every query.
    """
    (folder / "topics.tsv").write_text("".join(topics), encoding="utf-8")
    arguments = ["-index", str(index.resolve()), "-topics", "topics.tsv", "-hits", str(hits), "-threads", str(threads)]

    def answer(output: str, inherited: int) -> None:
        items = "".join(f"<Item>{escape(argument)}</Item>" for argument in [*arguments, *flags, "-output", output])
        (folder / "calls.xml").write_text(_CALLS.format(items=items), encoding="utf-8")
        main = "org.eclipse.jetty.xml.XmlConfiguration"
        watch = _counted(r": (\d+) queries processed", progress) if progress else None
        log = run_java(main, ["calls.xml"], heap_mb, threads, folder, [inherited], watch)
        if not any(f" {len(topics)} queries processed in " in line for line in log):
            raise InputError(f"{index}: Anserini did not answer all of {len(topics)} queries, see its log above")

    return run_java_into(read, answer)
