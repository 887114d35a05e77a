"""Search dense vectors exactly by inner product with FAISS, on all visible GPUs or else on the CPU.

The passages are searched in blocks of a fixed number of rows, independent of the shard files, for tiles of a fixed
number of queries. The GPUs take the blocks in turn, each for all queries. So memory holds one block (on GPUs: two, and
one more for each further GPU) and the result, and neither the number of files nor that of GPUs changes a score.

Run as `python -m led_pipeline.search.faiss_index --passage-vectors SHARD.npy... --query-vectors Q.npy --hits K
--threads T --out RANKING`, with `--shard I --shards S` for a part of the queries.
"""

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.data.tables import Ranking, shard_range, write_ranking
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.top_k import NONE, best, pack, to_ranking

CPU_BLOCK = 131_072  # passages searched at once
GPU_BLOCK = 1_048_576
TILE = 32_768  # queries searched at once
GPU_DEPTH = 2_048  # FAISS's limit on the hits per query on a GPU
TIE_HITS = 50_000_000  # hits in memory at once while ties are resolved

# D = dimensions, P = passages of a block, Q = queries of a tile, K = requested hits
Engine = Callable[[NDArray, NDArray, int], tuple[NDArray[np.float32], NDArray[np.integer]]]


def cpu_engine(queries_QD: NDArray, block_PD: NDArray, hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and block rows (Q, K), best first, computed on the CPU in float32."""
    queries_QD, block_PD = (np.ascontiguousarray(vectors, dtype=np.float32) for vectors in (queries_QD, block_PD))
    return faiss.knn(queries_QD, block_PD, hits, metric=faiss.METRIC_INNER_PRODUCT)


def gpu_engine(device: int) -> Engine:
    """Return the engine of one GPU; it multiplies in the vectors' precision and adds in float32."""
    resources = faiss.StandardGpuResources()

    def search(queries_QD: NDArray, block_PD: NDArray, hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if hits > GPU_DEPTH:  # only if a tie at the cut-off is longer than that
            return cpu_engine(queries_QD, block_PD, hits)
        return faiss.knn_gpu(resources, queries_QD, block_PD, hits, metric=faiss.METRIC_INNER_PRODUCT, device=device)

    return search


def search(paths: Sequence[Path], queries: Path, hits: int, threads: int, shard: int = 0, shards: int = 1) -> Ranking:
    """Rank the best passages for every query of a shard by inner product; ties are broken by passage row.

    Args:
        paths: the files of the passages' vectors, in row order.
        hits: passages per query; all passages if the collection is smaller.
        shard, shards: the part of the queries to search; all of them by default.

    Raises:
        InputError: passages and queries differ in dimension, a value is not finite, or `hits` exceeds a GPU's limit.
    """
    gpus = faiss.get_num_gpus()
    if gpus and hits >= GPU_DEPTH:
        raise InputError(
            f"hits: FAISS finds at most {GPU_DEPTH - 1} per query on a GPU, got {hits}; lower it, or search on the CPU"
            " with an empty CUDA_VISIBLE_DEVICES"
        )
    files, query_vectors = dense_files(paths, queries)
    # GPUs multiply float16 vectors without loss; everything else is float32.
    half = bool(gpus) and all(vectors.dtype == np.float16 for vectors in (query_vectors, *files))
    dtype = np.float16 if half else np.float32
    start, stop = shard_range(len(query_vectors), shard, shards)
    query_vectors = _finite(np.array(query_vectors[start:stop], dtype=dtype), queries, start)
    engines = [gpu_engine(device) for device in range(gpus)] or [cpu_engine]
    total = sum(len(vectors) for vectors in files)
    keys_QK = np.full((len(query_vectors), min(hits, total)), NONE)
    blocks = _blocks(paths, files, GPU_BLOCK if gpus else CPU_BLOCK, dtype)
    with Progress("search", total, "passages") as progress:
        _search_blocks(engines, threads, query_vectors, blocks, keys_QK, gpus, progress)
    ranking = to_ranking(keys_QK)
    return Ranking(ranking.queries + np.int32(start), ranking.passages, ranking.scores)


def dense_files(paths: Sequence[Path], queries: Path) -> tuple[list[NDArray], NDArray]:
    """Map the vectors of passages and queries.

    Raises:
        InputError: they differ in dimension.
    """
    files, query_vectors = [_load(path) for path in paths], _load(queries)
    for path, vectors in zip(paths, files, strict=True):
        if vectors.shape[1] != query_vectors.shape[1]:
            raise InputError(
                f"{path}: its vectors have {vectors.shape[1]} dimensions, those of {queries} {query_vectors.shape[1]};"
                " encode both with the same stage"
            )
    return files, query_vectors


def _load(path: Path) -> NDArray:
    vectors = matrix(path)
    if vectors.ndim != 2:
        raise InputError(f"{path}: expected a matrix with one vector per row, its shape is {vectors.shape}")
    return vectors


def _finite(vectors: NDArray, path: Path, first: int) -> NDArray:
    """Return the vectors, which start at row `first` of a file; a row that is not finite is an `InputError`."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{path}: row {first + int(finite.argmin())}: a value is NaN or infinite, so the stage diverged in training"
            " or its vectors do not fit into float16; train it again with a lower learning rate or in float32"
        )
    return vectors


def _blocks(paths: Sequence[Path], shards: Sequence[NDArray], rows: int, dtype: type) -> Iterator[NDArray]:
    """Yield blocks of `rows` rows, the last one possibly shorter, across the boundaries of the shards."""
    parts: list[NDArray] = []
    missing = rows
    for path, shard in zip(paths, shards, strict=True):
        start = 0
        while start < len(shard):
            part = _finite(np.array(shard[start : start + missing], dtype=dtype), path, start)
            parts.append(part)
            start += len(part)
            missing -= len(part)
            if not missing:
                yield np.concatenate(parts) if len(parts) > 1 else part
                parts, missing = [], rows
    if parts:
        yield np.concatenate(parts)


def _search_blocks(
    engines: Sequence[Engine],
    threads: int,
    queries_QD: NDArray,
    blocks: Iterator[NDArray],
    keys_QK: NDArray,
    ahead: int,
    progress: Progress,
) -> None:
    """Update every query's best keys with all blocks, which the engines take in turn.

    Args:
        ahead: number of blocks that may be in the engines while the next one is read.
    """
    lock = Lock()

    def search_block(engine: Engine, block_PD: NDArray, first: int) -> int:
        faiss.omp_set_num_threads(threads)  # this setting is per calling thread
        for start in range(0, len(queries_QD), TILE):
            tile = slice(start, start + TILE)
            keys = block_keys(engine, queries_QD[tile], block_PD, first, keys_QK.shape[1])
            with lock:
                keys_QK[tile] = best(np.concatenate([keys_QK[tile], keys], axis=1), keys_QK.shape[1])
        return len(block_PD)

    running: deque[Future[int]] = deque()
    first = 0

    def wait_until(at_most: int) -> None:
        while len(running) > at_most:
            progress.add(running.popleft().result())

    with ExitStack() as stack:
        # One thread per engine, since two threads must not use FAISS's resources of a GPU at once.
        queues = [(engine, stack.enter_context(ThreadPoolExecutor(1))) for engine in engines]
        for number, block in enumerate(blocks):
            engine, queue = queues[number % len(queues)]
            running.append(queue.submit(search_block, engine, block, first))
            first += len(block)
            wait_until(ahead)
        wait_until(0)


def block_keys(engine: Engine, queries_QD: NDArray, block_PD: NDArray, first: int, k: int) -> NDArray[np.uint64]:
    """Return the keys of each query's best k passages of one block, unordered.

    FAISS keeps arbitrary passages of a tie at the cut-off. So this requests k + 1 hits, and more and more if the last
    one ties with the k-th, until the whole tie is included and its lowest rows can be chosen.
    """
    depth = min(k + 1, len(block_PD))
    scores, rows = engine(queries_QD, block_PD, depth)
    keys = best(pack(scores, rows + first), k)
    none = np.empty(0, dtype=np.int64)
    tied = np.flatnonzero(scores[:, k - 1] == scores[:, -1]) if depth < len(block_PD) else none
    while len(tied):
        depth = min(depth * 8, len(block_PD))
        at_once = max(1, TIE_HITS // depth)
        still_tied = []
        for part in (tied[start : start + at_once] for start in range(0, len(tied), at_once)):
            scores, rows = engine(queries_QD[part], block_PD, depth)
            keys[part] = best(pack(scores, rows + first), k)
            still_tied.append(part[scores[:, k - 1] == scores[:, -1]])
        tied = np.concatenate(still_tied) if depth < len(block_PD) else none
    return keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passage-vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--query-vectors", type=Path, required=True)
    parser.add_argument("--hits", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--shard", type=int, default=0, help="number of the shard of the queries to search")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    ranking = search(a.passage_vectors, a.query_vectors, a.hits, a.threads, a.shard, a.shards)
    write_ranking(a.out, ranking)


if __name__ == "__main__":
    run_main(main)
