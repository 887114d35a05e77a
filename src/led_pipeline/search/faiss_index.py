"""Search dense vectors exactly by inner product: on the processor with FAISS, on GPUs with torch (`torch_engine`).

FAISS's wheel for GPUs has kernels for few cards and ends the process on others (H100, RTX 50), while torch has kernels
for every card that could encode the vectors. Without FAISS, torch searches on the processor, too.

The passages are searched in blocks of a fixed number of rows, independent of the shard files, for tiles of a fixed
number of queries. So memory holds one block and the result, and the number of files changes no score.

Run as `python -m led_pipeline.search.faiss_index --passage-vectors SHARD.npy... --query-vectors Q.npy --hits K
--threads T --out RANKING`, with `--shard I --shards S` for a part of the queries.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import Ragged, Ranking, shard_range, write_rankings
from led_pipeline.jobs import gpus
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.dense_files import blocks, dense_files, finite
from led_pipeline.search.top_k import NONE, best, pack, to_ranking

CPU_BLOCK = 131_072  # passages searched at once
TILE = 32_768  # queries searched at once
TIE_HITS = 50_000_000  # hits in memory at once while ties are resolved

# D = dimensions, P = passages of a block, Q = queries of a tile, K = requested hits
Engine = Callable[[NDArray, NDArray, int], tuple[NDArray[np.float32], NDArray[np.integer]]]


def cpu_engine(queries_QD: NDArray, block_PD: NDArray, hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and block rows (Q, K), best first, computed on the CPU in float32."""
    import faiss  # not everywhere: GPUs do without

    queries_QD, block_PD = (np.ascontiguousarray(vectors, dtype=np.float32) for vectors in (queries_QD, block_PD))
    return faiss.knn(queries_QD, block_PD, hits, metric=faiss.METRIC_INNER_PRODUCT)


def torch_devices() -> list[str]:
    """Return the devices that torch searches on; none where FAISS searches on the processor.

    Raises:
        InputError: a GPU was leased for this job, and torch cannot use it.
    """
    if not gpus.visible_devices():  # torch is not even imported
        return [] if find_spec("faiss") else ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus.check_usable(count, torch.__version__, torch.version.cuda)
    for i in range(count):
        card = torch.cuda.get_device_properties(i)
        gpus.check_card(card.name, (card.major, card.minor), torch.cuda.get_arch_list(), torch.__version__)
    return [f"cuda:{i}" for i in range(count)] or ([] if find_spec("faiss") else ["cpu"])


def search(paths: Sequence[Path], queries: Path, hits: int, threads: int, shard: int = 0, shards: int = 1) -> Ranking:
    """Return the parts of `rankings` as one."""
    parts = list(rankings(paths, queries, hits, threads, shard, shards))
    rows = np.concatenate([part.queries for part in parts])
    passages = Ragged.joined([part.passages for part in parts], np.int32)
    return Ranking(rows, passages, Ragged.joined([part.scores for part in parts], np.float32))


def rankings(
    paths: Sequence[Path], queries: Path, hits: int, threads: int, shard: int = 0, shards: int = 1
) -> Iterator[Ranking]:
    """Rank the best passages for every query of a shard by inner product; ties are broken by passage row.

    Yields:
        The rankings of some queries at a time, in the order of their rows.

    Args:
        paths: the files of the passages' vectors, in row order.
        hits: passages per query; all passages if the collection is smaller.
        threads: of the processor, for FAISS.
        shard, shards: the part of the queries to search; all of them by default.

    Raises:
        InputError: passages and queries differ in dimension, a value is not finite, or a leased GPU cannot be used.
    """
    files, query_vectors = dense_files(paths, queries)
    devices = torch_devices()
    # GPUs multiply float16 vectors without loss; everything else is float32.
    half = bool(devices) and all(vectors.dtype == np.float16 for vectors in (query_vectors, *files))
    dtype = np.float16 if half else np.float32
    start, stop = shard_range(len(query_vectors), shard, shards)
    query_vectors = finite(np.array(query_vectors[start:stop], dtype=dtype), queries, start)
    total = sum(len(vectors) for vectors in files)
    if devices:
        import torch

        from led_pipeline.search import torch_engine

        parts = torch_engine.search([torch.device(d) for d in devices], paths, files, query_vectors, hits)
    else:
        keys_QK = np.full((len(query_vectors), min(hits, total)), NONE)
        with Progress("search", total, "passages") as progress:
            _search_blocks(
                cpu_engine, threads, query_vectors, blocks(paths, files, CPU_BLOCK, dtype), keys_QK, progress
            )
        parts = (np.sort(keys_QK[first : first + TILE], axis=1) for first in range(0, max(1, len(keys_QK)), TILE))
    for keys in parts:
        ranking = to_ranking(keys, ordered=True)
        yield Ranking(ranking.queries + np.int32(start), ranking.passages, ranking.scores)
        start += len(keys)


def _search_blocks(
    engine: Engine,
    threads: int,
    queries_QD: NDArray,
    passages: Iterator[NDArray],
    keys_QK: NDArray,
    progress: Progress,
) -> None:
    """Update every query's best keys with all blocks of passages."""
    import faiss

    faiss.omp_set_num_threads(threads)  # this setting is per calling thread
    first = 0
    for block in passages:
        for start in range(0, len(queries_QD), TILE):
            tile = slice(start, start + TILE)
            keys = block_keys(engine, queries_QD[tile], block, first, keys_QK.shape[1])
            keys_QK[tile] = best(np.concatenate([keys_QK[tile], keys], axis=1), keys_QK.shape[1])
        first += len(block)
        progress.add(len(block))


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
    parts = rankings(a.passage_vectors, a.query_vectors, a.hits, a.threads, a.shard, a.shards)
    write_rankings(a.out, parts)


if __name__ == "__main__":
    run_main(main)
