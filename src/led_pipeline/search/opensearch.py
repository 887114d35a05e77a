"""Searches through a running OpenSearch node: BM25 over the passages' text, dot products of a lexicon stage's vectors.

Run as `python -m led_pipeline.search.opensearch COMMAND`, with the commands of `search.anserini` and their arguments;
where the node is says the environment (`search.opensearch_node`). What is written as the index is a note: the name and
the id of the index on the node, and what it was built from.

Vectors go into a field `rank_features`, under term ids, and are searched with the query `neural_sparse`. The node keeps
9 significant bits of a passage's weight; weights of queries are kept whole, and nothing is quantised to integers.
Scores that tie are put in the order of the rows; which of them stay at the cut-off is the node's choice.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from led_pipeline.data.tables import Ranking, count_rows, shard_range
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
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

VECTORS = 4_096  # vectors that are Python objects at once
MOST_HITS = 10_000  # a search returns no more unless the index says otherwise
SMALLEST = np.finfo(np.float32).tiny  # what a rank feature may be
PART = 4_096  # queries of one part of a ranking


def index_name(out: Path) -> str:
    """Return the name on the node for what is written to `out`: one of its own for every results folder."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(out.parts[-3:]).lower()).strip("-")
    return f"led-{words}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:8]}"


def _index(out: Path, kind: str, settings: dict[str, Any], field: dict[str, Any], documents, note: dict) -> None:
    """Make an index of one field on the node and write the note about it."""
    client, name = node.connect(), index_name(out)
    body = {
        "settings": {"index": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"} | settings},
        "mappings": {"dynamic": "strict", "_source": {"enabled": False}, "properties": field},
    }
    identity = node.create(client, name, body)
    node.fill(client, name, documents)
    with atomic(out) as folder:
        folder.mkdir()
        write_json(folder / NOTE, {"kind": kind, "index": name, "id": identity} | note)


def _checked(index: Path, expected: dict[str, Any]) -> tuple[Any, str]:
    """Return a client and the name of the index that a note is about.

    Raises:
        InputError: there is no note, it was built from something else, or the node has another index or none.
    """
    note = checked_note(index, expected)
    client = node.connect()
    if node.index_id(client, note["index"]) != note["id"]:
        raise InputError(
            f"{index}: the node at OPENSEARCH_URL does not hold the index {note['index']} that was built here; delete"
            f" {index} to build it again, or name the node that has it"
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
    """Yield a shard of the queries ranked by BM25."""
    expected = {"kind": "bm25", "passages": count_rows(passages), "k1": k1, "b": b, "language": language}
    client, name = _checked(index, expected)
    start, stop = shard_range(count_rows(queries), shard, shards)
    texts = read_queries(queries, start, stop, language)
    asked = ({"match": {"text": {"query": text}}} if text.strip() else None for text in texts)
    return _ranked(node.search(client, name, asked, _within(hits), threads), start, index)


def impact_index(vectors: Sequence[Path], passages: Path, out: Path) -> None:
    """Index the vectors of all passages, given as files in row order, with the weights they have."""
    shards, rows = read_shards(vectors, passages)
    documents = enumerate({"terms": features} for path, shard in shards for features in _features(shard, path))
    _index(out, "impact", {}, {"terms": {"type": "rank_features"}}, documents, {"passages": rows})


def impact_search(
    index: Path, query_vectors: Path, passages: Path, hits: int, threads: int, shard: int = 0, shards: int = 1
) -> Iterator[Ranking]:
    """Yield a shard of the queries ranked by the dot product of their weights with those of the passages."""
    client, name = _checked(index, {"kind": "impact", "passages": count_rows(passages)})
    vectors = SparseVectors.read(query_vectors)
    start, stop = shard_range(len(vectors), shard, shards)
    features = _features(vectors, query_vectors, start, stop)
    asked = ({"neural_sparse": {"terms": {"query_tokens": found}}} if found else None for found in features)
    return _ranked(node.search(client, name, asked, _within(hits), threads), start, index)


def _features(
    vectors: SparseVectors, path: Path, start: int = 0, stop: int | None = None
) -> Iterator[dict[str, float]]:
    """Yield rows as term id -> weight, without weights that a rank feature cannot hold."""
    stop = len(vectors) if stop is None else stop
    for first in range(start, stop, VECTORS):
        part = checked(vectors, first, min(first + VECTORS, stop), path)
        for row in range(len(part)):
            kept = part.weights[row] >= SMALLEST
            terms, weights = part.terms[row][kept].tolist(), part.weights[row][kept].tolist()
            yield dict(zip(map(str, terms), weights, strict=True))


def _within(hits: int) -> int:
    if hits > MOST_HITS:
        raise InputError(f"hits: OpenSearch returns at most {MOST_HITS} per query, got {hits}; ask for fewer")
    return hits


def _ranked(answers: Iterable[node.Hits], start: int, index: Path) -> Iterator[Ranking]:
    """Yield the answers, which begin with query row `start`, as rankings; ties by passage row.

    Raises:
        InputError: none of the queries has a single hit.
    """
    asked = found = 0

    def lists() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        nonlocal asked, found
        for query, hits in enumerate(answers, start=start):
            ordered = sorted(hits, key=lambda hit: (-np.float32(hit[1]), hit[0]))
            asked, found = asked + 1, found + len(ordered)
            rows, scores = zip(*ordered, strict=True) if ordered else ((), ())
            yield query, np.array(rows, dtype=np.int32), np.array(scores, dtype=np.float32)

    yield from Ranking.parts(lists())
    if asked and not found:
        raise no_hits(index, asked)


def main() -> None:
    whole, commands = parser(__doc__, threads="batches of queries under way at a time")
    for name in ("bm25-index", "bm25-search"):
        commands[name].add_argument("--k1", type=float, required=True)
        commands[name].add_argument("--b", type=float, required=True)
    for name in ("impact-index", "impact-search"):
        commands[name].add_argument("--quantisation", help="taken and ignored: weights stay what they are", type=int)
    settings = vars(whole.parse_args())
    settings.pop("quantisation", None)
    command = settings.pop("command")
    if command.endswith("index"):
        del settings["threads"]
    functions = (bm25_index, bm25_search, impact_index, impact_search)
    run(command, settings.pop("out"), settings, dict(zip(commands, functions, strict=True)))


if __name__ == "__main__":
    run_main(main)
