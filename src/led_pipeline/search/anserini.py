"""Index and search with Lucene through Anserini: BM25 over the passages' text, impacts over a lexicon stage's vectors.

Ids are row numbers, padded with zeros to the same width, so that Lucene, which breaks ties by comparing ids as strings,
breaks them by row. A ranking has an entry for every query; a query without terms has no hits. Queries are searched in
chunks: the hits of one chunk are read from Anserini and written to the ranking before the next starts.

Run as `python -m led_pipeline.search.anserini COMMAND`, where COMMAND is bm25-index, bm25-search, impact-index or
impact-search.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from led_pipeline.data.formats.characters import is_blank
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, count_rows, read_rows, shard_range
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import atomic, scratch, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.impacts import json_vectors, quantise, repeated_terms
from led_pipeline.search.indexes import (
    NOTE,
    check_language,
    checked_note,
    no_hits,
    parser,
    read_queries,
    read_shards,
    run,
)
from led_pipeline.search.letters import terms
from led_pipeline.search.lucene import answers, fill_index

VECTORS = 4_096  # vectors that are converted to text at once
# One run of Anserini keeps its topics and hits in memory.
CHUNK_QUERIES = 20_000
CHUNK_HITS = 5_000_000
CHUNK_CHARACTERS = 200_000_000
HEAP_MB = 4_096
NO_TERM = "."  # text of a passage without any term, which Anserini would omit
IMPACT_FLAGS = ["-impact", "-pretokenized"]
LONGEST_TEXT = 20_000_000  # UTF-16 units: the longest string of Jackson, Anserini's JSON parser

# Query rows in ascending order, passage rows, scores.
Hits = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
NO_HITS: Hits = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


def bm25_index(passages: Path, out: Path, threads: int, language: str = "en", heap_mb: int = HEAP_MB) -> None:
    """Index title and text of all passages, analysed for `bm25.language`."""
    check_language(passages, language)
    rows = count_rows(passages)
    documents = ('"contents":' + json.dumps(text) for text in bm25_contents(passages, rows, language))
    note: dict[str, str | int] = {"kind": "bm25", "passages": rows, "language": language}
    _build(out, documents, note, ["-collection", "JsonCollection", *analysis(language)], threads, heap_mb)


def analysis(language: str) -> list[str]:
    """Return Anserini's arguments for a language; it treats an unknown code as English."""
    special = {"none": ["-stemmer", "none", "-keepStopwords"], "bigrams": ["-pretokenized"]}
    return special.get(language, ["-language", language])


def bm25_contents(passages: Path, rows: int, language: str) -> Iterator[str]:
    """Yield title and text of each passage as the one string that Anserini indexes.

    Raises:
        InputError: a passage is blank, which Anserini omits, or longer than it can read.
    """
    for batch in read_rows(passages, 0, rows, ["id", "title", "text"]):
        for name, title, text in zip(batch["id"], batch["title"], batch["text"], strict=True):
            both = terms(f"{title} {text}", language) or NO_TERM
            if is_blank(f"{title} {text}"):
                raise InputError(
                    f"{passages}: passage '{name}' has no visible text; dataset.skip: [empty_text] leaves it out"
                )
            if 2 * len(both) > LONGEST_TEXT and (length := len(both.encode("utf-16-le")) // 2) > LONGEST_TEXT:
                raise InputError(
                    f"{passages}: passage '{name}' has {length:,} characters with its title, and Anserini reads at most"
                    f" {LONGEST_TEXT:,}; split it into several passages in dataset.collection, or remove it"
                )
            yield both


def bm25_search(
    index: Path, queries: Path, passages: Path, k1: float, b: float, hits: int, threads: int, language: str = "en",
    shard: int = 0, shards: int = 1, heap_mb: int = HEAP_MB,
) -> Iterator[Ranking]:  # fmt: skip
    """Yield a shard's rankings by BM25; scores are Anserini's, rounded to 0.0001 and lowered within ties."""
    checked_note(index, {"kind": "bm25", "passages": count_rows(passages), "language": language})
    start, stop = shard_range(count_rows(queries), shard, shards)
    topics = map(_one_line, read_queries(queries, start, stop, language))
    flags = ["-bm25", "-bm25.k1", str(k1), "-bm25.b", str(b), *analysis(language)]
    return _search(index, topics, (start, stop), flags, hits, threads, heap_mb)


def topic(query: str, language: str) -> str:
    """Return a query as `bm25_search` gives it to Anserini; empty if it has no terms at all."""
    return _one_line(terms(query, language))


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x20]+", " ", text).strip(" ")


def impact_index(
    vectors: Sequence[Path], passages: Path, quantisation: int, out: Path, threads: int, heap_mb: int = HEAP_MB
) -> None:
    """Index the quantised vectors of all passages; the files are in row order."""
    shards, rows = read_shards(vectors, passages)
    documents = (
        f'"vector":{vector}'
        for path, shard in shards
        for first in range(0, len(shard), VECTORS)
        for vector in json_vectors(quantise(shard, quantisation, first, min(first + VECTORS, len(shard)), path))
    )
    note: dict[str, str | int] = {"kind": "impact", "passages": rows, "quantisation": quantisation}
    _build(out, documents, note, ["-collection", "JsonVectorCollection", *IMPACT_FLAGS], threads, heap_mb)


def impact_search(
    index: Path, query_vectors: Path, quantisation: int, passages: Path, hits: int, threads: int, shard: int = 0,
    shards: int = 1, heap_mb: int = HEAP_MB,
) -> Iterator[Ranking]:  # fmt: skip
    """Yield a shard's rankings by the dot product of impacts; scores are integers, exact up to 2**24."""
    checked_note(index, {"kind": "impact", "passages": count_rows(passages), "quantisation": quantisation})
    vectors = SparseVectors.read(query_vectors)
    start, stop = shard_range(len(vectors), shard, shards)
    impacts = quantise(vectors, quantisation, start, stop, query_vectors)
    topics = (repeated_terms(impacts.terms[row], impacts.weights[row]) for row in range(len(impacts)))
    for part in _search(index, topics, (start, stop), IMPACT_FLAGS, hits, threads, heap_mb):
        yield Ranking(part.queries, part.passages, Ragged(np.rint(part.scores.values), part.scores.offsets))


def _build(
    out: Path,
    documents: Iterable[str],
    note: dict[str, str | int],
    flags: Sequence[str],
    threads: int,
    heap_mb: int,
) -> None:
    """Index one document per passage, in row order, with its row number as id."""
    numbered = (f'{{"id":"{row:010d}",{document}}}' for row, document in enumerate(documents))
    with atomic(out) as index:
        fill_index(index, numbered, int(note["passages"]), flags, threads, heap_mb, name=out)
        write_json(index / NOTE, note)


def _search(
    index: Path,
    topics: Iterable[str],
    rows: tuple[int, int],
    flags: Sequence[str],
    hits: int,
    threads: int,
    heap_mb: int,
) -> Iterator[Ranking]:
    """Yield the rankings of a range of query rows, one run of Anserini per chunk; an empty topic has no hits.

    The topics are written beside the index; the hits come through a pipe, so that a full disk cannot truncate them.

    Raises:
        InputError: no query has any hit, or as `answers`.
    """
    first, stop = rows
    hit_count = 0
    all_flags = ["-topicReader", "TsvInt", *flags]
    with scratch(index) as folder, Progress("search", stop - first, "queries") as progress:
        for numbers, lines in _chunks(topics, first, hits):
            answered = answers(index, folder, lines, all_flags, hits, threads, heap_mb, _read_run, progress)
            part = _ranking(answered, first, numbers[-1] + 1)
            hit_count += len(part.passages.values)
            first = numbers[-1] + 1
            progress.reach(first - rows[0])
            yield part
        progress.reach(stop - rows[0])
    if first < stop:
        yield _ranking(NO_HITS, first, stop)
    if rows[0] < stop and not hit_count:
        raise no_hits(index, stop - rows[0])


def _ranking(hits: Hits, start: int, stop: int) -> Ranking:
    """Return the ranking of the query rows from `start` to before `stop`."""
    query, passage, score = hits
    offsets = np.concatenate([[0], np.cumsum(np.bincount(query - start, minlength=stop - start))])
    return Ranking(np.arange(start, stop, dtype=np.int32), Ragged(passage, offsets), Ragged(score, offsets))


def _chunks(topics: Iterable[str], first: int, hits: int) -> Iterator[tuple[list[int], list[str]]]:
    """Group non-empty topics into chunks for one run each: query rows and lines `row TAB topic`."""
    most = max(1, min(CHUNK_QUERIES, CHUNK_HITS // hits))
    rows: list[int] = []
    lines: list[str] = []
    characters = 0
    for row, topic in enumerate(topics, start=first):
        if lines and (len(lines) == most or characters + len(topic) > CHUNK_CHARACTERS):
            yield rows, lines
            rows, lines, characters = [], [], 0
        if topic:
            rows.append(row)
            lines.append(f"{row}\t{topic}\n")
            characters += len(topic)
    if lines:
        yield rows, lines


def _read_run(file: io.BufferedReader) -> Hits:
    """Return the hits of a TREC run, in its order: by query, then by rank."""
    types = {"query": pa.int32(), "passage": pa.int32(), "score": pa.float32()}
    if not file.peek(1):
        return NO_HITS
    table = pyarrow.csv.read_csv(
        file,
        pyarrow.csv.ReadOptions(column_names=["query", "q0", "passage", "rank", "score", "tag"]),
        pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
        pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types)),
    )
    return table["query"].to_numpy(), table["passage"].to_numpy(), table["score"].to_numpy()


def main() -> None:
    top, commands = parser(__doc__)
    for command in commands.values():
        command.add_argument("--heap-mb", type=int, default=HEAP_MB, help="maximum size of Java's heap in MB")
    for name in ("impact-index", "impact-search"):
        commands[name].add_argument("--quantisation", type=int, required=True)
    for name in ("--k1", "--b"):
        commands["bm25-search"].add_argument(name, type=float, required=True)
    arguments = vars(top.parse_args())
    functions = (bm25_index, bm25_search, impact_index, impact_search)
    run(arguments.pop("command"), arguments.pop("out"), arguments, dict(zip(commands, functions, strict=True)))


if __name__ == "__main__":
    run_main(main)
