"""Time the search of a dense stage or of a variant: one query after another, on one thread, with everything in memory.

Run as `python -m led_pipeline.search.query_time --passage-vectors SHARD.npy... --query-vectors Q.npy --settings JSON
--hits K --count N --out JSON`.

The time of a query is that from its vector to its best passages; encoding the query is not a part of it. FAISS searches
a flat index whose codes are those of `quantisers`: QT_fp16, QT_8bit or the bits. Every query is searched once before
the clock starts. Rescoring reads float16 vectors of the candidates from memory.

Memory holds the codes of all passages, and their float16 vectors where they are rescored.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.files.atomic import write_json
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import parser_of
from led_pipeline.recipe.variants import VariantSettings, bytes_per_passage
from led_pipeline.search.dense_files import dense_files
from led_pipeline.search.quantisers import bits, row_blocks, shortened

QUANTISERS = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
Search = Callable[[NDArray], object]  # of one query (1, D)


def searcher(files: Sequence[NDArray], settings: VariantSettings, hits: int) -> Search:
    """Return the search of one query among the passages, with an index in memory.

    Args:
        files: the stored vectors of the passages, (P, D) each.
    """

    def blocks() -> Iterator[NDArray]:
        return (shortened(block, settings.dimensions, settings.normalize) for block in row_blocks(files))

    depth = min(hits * (settings.rescore or 1), sum(map(len, files)))
    dimensions = settings.dimensions or files[0].shape[1]
    index: Any
    if settings.precision == "binary":
        index = faiss.IndexBinaryFlat(8 * -(-dimensions // 8))
        for block in blocks():
            index.add(bits(block))
        first: Search = lambda query: index.search(bits(query), depth)[1]  # noqa: E731
    else:
        index = faiss.IndexScalarQuantizer(dimensions, QUANTISERS[settings.precision], faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:  # float16 has nothing to learn
            index.train(_extremes(blocks()))
        for block in blocks():
            index.add(block.astype(np.float32))
        first = lambda query: index.search(query.astype(np.float32), depth)[1]  # noqa: E731
    if not settings.rescore:
        return first
    vectors_PD = np.concatenate(list(blocks()))

    def rescored(query: NDArray) -> object:
        rows: Any = first(query)
        scores = vectors_PD[rows[0]].astype(np.float32) @ query[0].astype(np.float32)
        best = np.argpartition(-scores, min(hits, len(scores)) - 1)[:hits]
        return rows[0][best[np.argsort(-scores[best], kind="stable")]]

    return rescored


def _extremes(blocks: Iterator[NDArray]) -> NDArray[np.float32]:
    """Return the lowest and the highest value of each dimension, (2, D): all that a range of QT_8bit depends on."""
    pairs = [(block.min(axis=0), block.max(axis=0)) for block in blocks if len(block)]
    low, high = zip(*pairs, strict=True)
    return np.stack([np.min(low, axis=0), np.max(high, axis=0)]).astype(np.float32)


def timed(searches: Sequence[Callable[[], object]], warm: int | None = None) -> NDArray[np.float64]:
    """Return the milliseconds of each search, after one call of the first `warm` (None: of all) that is not timed."""
    for search in searches[:warm]:
        search()
    times = []
    for search in searches:
        started = time.perf_counter()
        search()
        times.append(1_000 * (time.perf_counter() - started))
    return np.array(times)


def summary(times: NDArray[np.float64]) -> dict[str, Any]:
    """Return the number of searches, the median and 95th percentile of their times, and the times in their order."""
    return {
        "queries": len(times),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "ms": [round(float(time), 4) for time in times],
    }


def added(others: Sequence[Path], own_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times of a system that waits for others: theirs for the same query, and its own.

    Args:
        others: what this module or `use.query_time` wrote for the other systems, for at least as many queries.
    """
    waited_ms = [np.array(read_json(path)["ms"])[: len(own_ms)] for path in others]
    return own_ms + np.sum(waited_ms, axis=0)


def query_count(others: Sequence[Path]) -> int:
    """Return the number of queries that all the others were timed with."""
    return min(len(read_json(path)["ms"]) for path in others)


def query_time(
    paths: Sequence[Path], queries: Path, settings: VariantSettings, hits: int, count: int
) -> dict[str, Any]:
    """Return the times of some queries' searches, and the bytes of a passage that they read."""
    faiss.omp_set_num_threads(1)
    files, query_vectors = dense_files(paths, queries)
    queries_QD = shortened(np.array(query_vectors[:count]), settings.dimensions, settings.normalize)
    search, dimensions = searcher(files, settings, hits), queries_QD.shape[1]
    searches = [partial(search, queries_QD[i : i + 1]) for i in range(len(queries_QD))]
    return {
        "passages": sum(map(len, files)),
        "dimensions": dimensions,
        "bytes_per_passage": bytes_per_passage(dimensions, settings.precision),
        "rescoring_bytes_per_passage": 2 * dimensions if settings.rescore else 0,
        "hits": hits,
    } | summary(timed(searches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passage-vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--query-vectors", type=Path, required=True)
    parser.add_argument("--settings", type=parser_of(VariantSettings), required=True)
    parser.add_argument("--hits", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="number of queries")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    write_json(a.out, query_time(a.passage_vectors, a.query_vectors, a.settings, a.hits, a.count))


if __name__ == "__main__":
    run_main(main)
