"""Index and search on an OpenSearch node: BM25 over the passages' text, dot products of a lexicon stage's vectors.

Run as `python -m led_pipeline.search.opensearch COMMAND`, with the commands of `search.anserini` and their arguments;
the environment names the node (`search.opensearch_node`). The output of an index command is a note with the name and
id of the index on the node, and the data and settings that it was built from.

Vectors are stored in a `rank_features` field, by term id, and searched with a `neural_sparse` query. The node keeps 9
significant bits of a passage's weight; query weights keep full precision, and nothing is quantised to integers. Tied
hits are ordered by row; the node decides which of them are cut off.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import Ranked, Ranking, count_rows, shard_range
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress, counted
from led_pipeline.recipe.languages import NODE_ANALYZERS
from led_pipeline.search import opensearch_node as node
from led_pipeline.search.impacts import checked
from led_pipeline.search.indexes import (
    NOTE,
    check_language,
    checked_note,
    no_hits,
    parser,
    read_passages,
    read_queries,
    read_shards,
    run,
)

VECTORS = 4_096  # vectors that are converted to Python objects at once
MOST_HITS = 10_000  # the default limit of an index on the hits of a search
SMALLEST = np.finfo(np.float32).tiny  # the smallest rank feature
PART = 4_096  # queries of one part of a ranking


def index_name(out: Path) -> str:
    """Return the index's name on the node, which is unique for every output path."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(out.parts[-3:]).lower()).strip("-")
    return f"led-{words}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:8]}"


def _index(
    out: Path,
    kind: str,
    index_settings: dict[str, Any],
    field: dict[str, Any],
    documents: Iterable[tuple[int, dict[str, Any]]],
    note: dict[str, Any],
) -> None:
    """Create an index with one field on the node, fill it, and write the note about it."""
    client, name = node.connect(), index_name(out)
    body = {
        "settings": {
            "index": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"} | index_settings
        },
        "mappings": {"dynamic": "strict", "_source": {"enabled": False}, "properties": field},
    }
    identity = node.create(client, name, body)
    with Progress("index", note["passages"], "passages") as progress:
        node.fill(client, name, counted(documents, progress))
    with atomic(out) as folder:
        folder.mkdir()
        write_json(folder / NOTE, {"kind": kind, "index": name, "id": identity} | note)


def checked_index(index: Path, expected: dict[str, Any]) -> tuple[Any, str]:
    """Return a client and the name of the index that a note describes.

    Raises:
        InputError: there is no note, the index was built from other data or settings, or it is not on the node.
    """
    note = checked_note(index, expected)
    client = node.connect()
    if node.index_id(client, note["index"]) != note["id"]:
        raise InputError(
            f"{index}: the node at OPENSEARCH_URL does not have the index {note['index']} that this note describes;"
            f" delete {index} to build it again, or name the node that has it"
        )
    return client, note["index"]


def bm25_index(passages: Path, out: Path, k1: float, b: float, language: str = "en") -> None:
    """Index title and text of all passages with the node's analyser for `bm25.language`."""
    check_language(passages, language)
    rows = count_rows(passages)
    documents = ((row, {"text": text}) for row, text in enumerate(read_passages(passages, language)))
    settings = {"similarity": {"default": {"type": "BM25", "k1": k1, "b": b}}}
    field = {"text": {"type": "text", "analyzer": NODE_ANALYZERS[language]}}
    _index(out, "bm25", settings, field, documents, {"passages": rows, "k1": k1, "b": b, "language": language})


def bm25_search(
    index: Path, queries: Path, passages: Path, k1: float, b: float, hits: int, threads: int, language: str = "en",
    shard: int = 0, shards: int = 1,
) -> Iterator[Ranking]:  # fmt: skip
    """Yield a shard's rankings by BM25."""
    expected = {"kind": "bm25", "passages": count_rows(passages), "k1": k1, "b": b, "language": language}
    client, name = checked_index(index, expected)
    start, stop = shard_range(count_rows(queries), shard, shards)
    bodies = map(text_query, read_queries(queries, start, stop, language))
    return _ranked(node.search(client, name, bodies, _checked_hits(hits), threads), start, stop, index)


def impact_index(vectors: Sequence[Path], passages: Path, out: Path) -> None:
    """Index the vectors of all passages with unquantised weights; the files are in row order."""
    shards, rows = read_shards(vectors, passages)
    documents = enumerate({"terms": row} for path, shard in shards for row in features(shard, path))
    _index(out, "impact", {}, {"terms": {"type": "rank_features"}}, documents, {"passages": rows})


def impact_search(
    index: Path, query_vectors: Path, passages: Path, hits: int, threads: int, shard: int = 0, shards: int = 1
) -> Iterator[Ranking]:
    """Yield a shard's rankings by the dot product of the queries' and the passages' weights."""
    client, name = checked_index(index, {"kind": "impact", "passages": count_rows(passages)})
    vectors = SparseVectors.read(query_vectors)
    start, stop = shard_range(len(vectors), shard, shards)
    bodies = map(terms_query, features(vectors, query_vectors, start, stop))
    return _ranked(node.search(client, name, bodies, _checked_hits(hits), threads), start, stop, index)


def text_query(text: str) -> dict[str, Any] | None:
    """Return the query body for a text, prepared for the index; None if it is blank."""
    return {"match": {"text": {"query": text}}} if text.strip() else None


def terms_query(tokens: dict[str, float]) -> dict[str, Any] | None:
    """Return the query body for weights by term id; None if there are none."""
    return {"neural_sparse": {"terms": {"query_tokens": tokens}}} if tokens else None


def features(vectors: SparseVectors, path: Path, start: int = 0, stop: int | None = None) -> Iterator[dict[str, float]]:
    """Yield rows as term id -> weight, without weights that are too small for a rank feature."""
    stop = len(vectors) if stop is None else stop
    for first in range(start, stop, VECTORS):
        part = checked(vectors, first, min(first + VECTORS, stop), path)
        for row in range(len(part)):
            large = part.weights[row] >= SMALLEST
            terms, weights = part.terms[row][large].tolist(), part.weights[row][large].tolist()
            yield dict(zip(map(str, terms), weights, strict=True))


def _checked_hits(hits: int) -> int:
    if hits > MOST_HITS:
        raise InputError(f"hits: OpenSearch returns at most {MOST_HITS} per query, got {hits}; lower it")
    return hits


def ordered(hits: node.Hits) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the rows and scores of a query's hits, best first, ties by row."""
    best_first = sorted(hits, key=lambda hit: (-np.float32(hit[1]), hit[0]))
    rows, scores = zip(*best_first, strict=True) if best_first else ((), ())
    return np.array(rows, dtype=np.int32), np.array(scores, dtype=np.float32)


def _ranked(answers: Iterable[node.Hits], start: int, stop: int, index: Path) -> Iterator[Ranking]:
    """Yield the answers to query rows `start` to before `stop` as rankings; ties by passage row.

    Raises:
        InputError: no query has any hit.
    """
    query_count = hit_count = 0

    def lists() -> Iterator[Ranked]:
        nonlocal query_count, hit_count
        for query, hits in enumerate(answers, start=start):
            query_count, hit_count = query_count + 1, hit_count + len(hits)
            yield query, *ordered(hits)

    with Progress("search", stop - start, "queries") as progress:
        answers = counted(answers, progress)
        yield from Ranking.parts(lists())
    if query_count and not hit_count:
        raise no_hits(index, query_count)


def main() -> None:
    top, commands = parser(__doc__, threads="batches of queries that are searched at the same time")
    for name in ("bm25-index", "bm25-search"):
        commands[name].add_argument("--k1", type=float, required=True)
        commands[name].add_argument("--b", type=float, required=True)
    for name in ("impact-index", "impact-search"):
        commands[name].add_argument("--quantisation", help="accepted and ignored: weights are not quantised", type=int)
    arguments = vars(top.parse_args())
    arguments.pop("quantisation", None)
    command = arguments.pop("command")
    if command.endswith("index"):
        del arguments["threads"]
    functions = (bm25_index, bm25_search, impact_index, impact_search)
    run(command, arguments.pop("out"), arguments, dict(zip(commands, functions, strict=True)))


if __name__ == "__main__":
    run_main(main)
