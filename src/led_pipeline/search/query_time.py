"""Time the search of a dense stage or of a variant: one query after another, on one thread, with everything in memory.

Run as `python -m led_pipeline.search.query_time --passage-vectors SHARD.npy... --query-vectors Q.npy --settings JSON
--hits K --count N --out JSON`.

The time of a query is that from its vector to its best passages; encoding the query is not a part of it. FAISS searches
a flat index whose codes are those of `quantisers`: QT_fp16, QT_8bit or the bits. Every query is searched once before
the clock starts. Rescoring reads float16 vectors of the candidates from memory.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.files.atomic import write_json
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import parser_of
from led_pipeline.recipe.variants import VariantSettings, bytes_per_passage
from led_pipeline.search.faiss_index import dense_files
from led_pipeline.search.quantisers import bits, row_blocks, shortened

QUANTISERS = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
Search = Callable[[NDArray], object]  # of one query (1, D)


def searcher(vectors_PD: NDArray, settings: VariantSettings, hits: int) -> Search:
    """Return the search of one query among the passages, with an index in memory."""
    depth = min(hits * (settings.rescore or 1), len(vectors_PD))
    dimensions = vectors_PD.shape[1]
    index: Any
    if settings.precision == "binary":
        index = faiss.IndexBinaryFlat(8 * -(-dimensions // 8))
        for block in row_blocks([vectors_PD]):
            index.add(bits(block))
        first: Search = lambda query: index.search(bits(query), depth)[1]  # noqa: E731
    else:
        index = faiss.IndexScalarQuantizer(dimensions, QUANTISERS[settings.precision], faiss.METRIC_INNER_PRODUCT)
        floats = vectors_PD.astype(np.float32)
        index.train(floats)
        index.add(floats)
        first = lambda query: index.search(query.astype(np.float32), depth)[1]  # noqa: E731
    if not settings.rescore:
        return first

    def rescored(query: NDArray) -> object:
        rows: Any = first(query)
        scores = vectors_PD[rows[0]].astype(np.float32) @ query[0].astype(np.float32)
        best = np.argpartition(-scores, min(hits, len(scores)) - 1)[:hits]
        return rows[0][best[np.argsort(-scores[best], kind="stable")]]

    return rescored


def timed(searches: Sequence[Callable[[], object]]) -> NDArray[np.float64]:
    """Return the milliseconds of each search, after one call of each that is not timed."""
    for search in searches:
        search()
    times = []
    for search in searches:
        started = time.perf_counter()
        search()
        times.append(1_000 * (time.perf_counter() - started))
    return np.array(times)


def summary(times: NDArray[np.float64]) -> dict[str, float]:
    """Return the number of searches, and the median and 95th percentile of their times."""
    return {
        "queries": len(times),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
    }


def query_time(
    paths: Sequence[Path], queries: Path, settings: VariantSettings, hits: int, count: int
) -> dict[str, Any]:
    """Return the times of some queries' searches, and the bytes of a passage that they read."""
    faiss.omp_set_num_threads(1)
    files, query_vectors = dense_files(paths, queries)
    vectors_PD = np.concatenate([shortened(b, settings.dimensions, settings.normalize) for b in row_blocks(files)])
    queries_QD = shortened(np.array(query_vectors[:count]), settings.dimensions, settings.normalize)
    search = searcher(vectors_PD, settings, hits)
    searches = [partial(search, queries_QD[i : i + 1]) for i in range(len(queries_QD))]
    return {
        "passages": len(vectors_PD),
        "dimensions": vectors_PD.shape[1],
        "bytes_per_passage": bytes_per_passage(vectors_PD.shape[1], settings.precision),
        "rescoring_bytes_per_passage": 2 * vectors_PD.shape[1] if settings.rescore else 0,
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
