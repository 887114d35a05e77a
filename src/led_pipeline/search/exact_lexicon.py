"""Exact search of a lexicon stage's vectors without Lucene: a posting file, and loops over it that numba compiles.

Passages, order and scores are those of Anserini's impact index: scores are sums of products of integer impacts, hits
share a term with the query, ties are in the order of the collection. Neither the blocks of the file nor the threads,
the queries that are searched together or the skipping of postings change a result.

Run as `python -m led_pipeline.search.exact_lexicon COMMAND`, where COMMAND is impact-index or impact-search, with the
arguments of `search.anserini`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import Ranked, Ranking, count_rows, shard_range
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import atomic, size, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.impacts import quantise
from led_pipeline.search.indexes import NOTE, checked_note, no_hits, parser, read_shards, run
from led_pipeline.search.kernel import search_kernel
from led_pipeline.search.largest_scores import check_scores
from led_pipeline.search.ordered import ordered
from led_pipeline.search.posting_file import Postings, read_postings
from led_pipeline.search.posting_writer import write_postings

if TYPE_CHECKING:
    from led_pipeline.search.posting_lists import Chunk

KIND = "postings"  # in the note; an index of Lucene is of the kind "impact"
FILE = "postings.bin"
CHUNK_QUERIES = 1_024  # that a thread searches together, so that a block's postings are read once for all of them
CHUNK_BYTES = 32 * 2**20  # of their hits
STEP_ROWS = 524_288  # passages between two looks at the clock
WAITING = 3  # chunks per thread that are searched or wait to be written, see `ordered`

Hits = tuple[NDArray[np.int32], NDArray[np.int64]]  # rows and scores, best first
Watch = Callable[[float], None]  # takes the share of a chunk's work that is done; may raise to end the search


def impact_index(vectors: Sequence[Path], passages: Path, quantisation: int, out: Path, threads: int) -> None:
    """Write the posting file of all passages; the files are in row order."""
    shards, rows = read_shards(vectors, passages)
    with atomic(out) as folder:
        folder.mkdir()
        write_postings(folder / FILE, shards, quantisation, threads)
        write_json(folder / NOTE, {"kind": KIND, "passages": rows, "quantisation": quantisation})


def open_index(index: Path, passages: int, quantisation: int) -> Postings:
    """Map the posting file of an index.

    Raises:
        InputError: it belongs to other data, another quantisation or another engine, or it is damaged.
    """
    checked_note(index, {"kind": KIND, "passages": passages, "quantisation": quantisation})
    postings = read_postings(index / FILE)
    if (postings.passages, postings.quantisation) != (passages, quantisation):
        raise InputError(
            f"{postings.path}: {postings.passages} passages with the quantisation {postings.quantisation}, expected"
            f" {passages} and {quantisation}; remove its folder to have it made again"
        )
    return postings


def impact_search(
    index: Path, query_vectors: Path, quantisation: int, passages: Path, hits: int, threads: int, shard: int = 0,
    shards: int = 1,
) -> Iterator[Ranking]:  # fmt: skip
    """Yield a shard's rankings by the dot products of impacts.

    Raises:
        InputError: the index does not fit or is damaged, a score might not fit into 32 bits, or no query has any hit.
    """
    postings = open_index(index, count_rows(passages), quantisation)
    postings.check_blocks()
    vectors = SparseVectors.read(query_vectors)
    start, stop = shard_range(len(vectors), shard, shards)
    queries = quantise(vectors, quantisation, start, stop, query_vectors)
    check_scores(postings, queries, query_vectors, start)
    print(describe(postings, hits, threads), file=sys.stderr, flush=True)
    searched = on_gpus(postings, queries, hits) or search(postings, queries, hits, threads)
    hit_count = 0

    def lists() -> Iterator[Ranked]:
        nonlocal hit_count
        for query, (rows, scores) in enumerate(searched, start=start):
            hit_count += len(rows)
            yield query, rows, scores.astype(np.float32)

    yield from Ranking.parts(lists())
    if start < stop and not hit_count:
        raise no_hits(index, stop - start)


def on_gpus(postings: Postings, queries: SparseVectors, hits: int) -> Iterator[Hits] | None:
    """Return the search on the GPUs that are leased for this job; None without one.

    Raises:
        InputError: torch cannot use a GPU.
    """
    if not gpus.leased():
        return None
    import torch

    from led_pipeline.search.faiss_index import torch_devices
    from led_pipeline.search.torch_lexicon import search as search_on

    return search_on([torch.device(name) for name in torch_devices()], postings, queries, hits)


def chunk_of(postings: Postings, queries: SparseVectors, k: int) -> "Chunk":
    """Return queries as the kernel reads them; terms that raise scores most per posting come first."""
    from led_pipeline.search.posting_lists import Chunk

    in_file = queries.terms.values < len(postings.terms)
    query = np.repeat(np.arange(len(queries)), queries.terms.lengths)[in_file]
    terms = queries.terms.values[in_file].astype(np.int64)
    weights = queries.weights.values[in_file].astype(np.int32)
    frequency, largest = postings.terms[terms].T.astype(np.float64)
    order = np.lexsort((terms, -weights * largest / np.maximum(frequency, 1), query))
    distinct, places, uses = np.unique(terms[order], return_inverse=True, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(queries)))]).astype(np.int64)
    keys = np.zeros((len(queries), slots(k)), np.uint64)
    of_queries = (np.zeros(len(queries), np.int64) for _ in range(2))
    return Chunk(distinct, uses, offsets, places.astype(np.int64), weights[order], keys, *of_queries)


def slots(k: int) -> int:
    """Return the places for the hits of a query; the best k are selected when they are full."""
    return k + k // 2 + 64


def best_of(chunk: "Chunk", query: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rows and scores of a query's best k hits, best first, ties by row."""
    keys = np.sort(chunk.keys[query, : chunk.sizes[query]])[::-1][:k]
    rows = np.uint64(0xFFFF_FFFF) - (keys & np.uint64(0xFFFF_FFFF))
    return rows.astype(np.int32), (keys >> np.uint64(32)).astype(np.int64)


def search_chunk(postings: Postings, queries: SparseVectors, k: int, prune: bool, watch: Watch) -> "Chunk":
    """Search all blocks for some queries."""
    kernel, chunk = search_kernel(), chunk_of(postings, queries, k)
    blocks, step = len(postings.table), max(1, STEP_ROWS // postings.block_rows)
    sizes = postings.term_bytes, postings.block_rows, postings.passages
    for start in range(0, blocks, step):
        stop = min(start + step, blocks)
        kernel(postings.data, postings.table, *sizes, start, stop, chunk, k, prune)
        watch((stop - start) / blocks)
    return chunk


def search_one(postings: Postings, query: SparseVectors, k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rows and scores of the best k passages for the only row of `query`; see `search`."""
    k = max(1, min(k, postings.passages))
    return best_of(search_chunk(postings, query, k, True, lambda share: None), 0, k)


def search(
    postings: Postings, queries: SparseVectors, k: int, threads: int = 1, prune: bool = True, at_once: int | None = None
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Yield the rows and scores of the best k passages of every query, by impacts.

    Args:
        queries: with integer weights; `check_scores` has accepted them.
        prune: False computes every score; the result is the same.
        at_once: queries that a thread searches together; as many as fit into CHUNK_BYTES by default.
    """
    k = max(1, min(k, postings.passages))
    largest = at_once or max(1, min(CHUNK_QUERIES, CHUNK_BYTES // (8 * slots(k)), -(-len(queries) // threads)))
    starts = range(0, len(queries), largest)
    stopped, lock = Event(), Lock()
    done = 0.0
    search_kernel()  # compiled before the threads start
    with Progress("search", len(queries), "queries") as progress, ThreadPoolExecutor(threads) as pool:

        def part(start: int) -> "Chunk":
            some = queries.rows(start, min(start + largest, len(queries)))

            def watch(share: float) -> None:
                nonlocal done
                if stopped.is_set():
                    raise InterruptedError("the search was stopped")
                with lock:
                    done += share * len(some)
                    progress.reach(min(round(done), len(queries)))

            return search_chunk(postings, some, k, prune, watch)

        try:
            for chunk in ordered(pool, part, starts, threads):
                for query in range(len(chunk.sizes)):
                    yield best_of(chunk, query, k)
        finally:
            stopped.set()
        progress.reach(len(queries))


def describe(postings: Postings, k: int, threads: int) -> str:
    """Return a sentence about the sizes of a search."""
    of_hits = min(CHUNK_QUERIES * 8 * slots(k), max(CHUNK_BYTES, 8 * slots(k)))
    return (
        f"posting file: {size(len(postings.data))}, {postings.size:,} postings in {len(postings.table):,} blocks,"
        f" mapped; memory for hits: at most {size(WAITING * threads * of_hits)}"
    )


def main() -> None:
    top, commands = parser(__doc__)
    for name in ("impact-index", "impact-search"):
        commands[name].add_argument("--quantisation", type=int, required=True)
    arguments = vars(top.parse_args())
    functions: dict[str, Callable[..., Any]] = {"impact-index": impact_index, "impact-search": impact_search}
    command = arguments.pop("command")
    if command not in functions:
        raise InputError(f"{command}: exact lexicon search has no BM25; use the engine of search.backend")
    run(command, arguments.pop("out"), arguments, functions)


if __name__ == "__main__":
    run_main(main)
