"""Search smaller vectors of a dense stage: shortened, int8 or binary, from the vectors that the stage has stored.

Run as `python -m led_pipeline.search.variants --passage-vectors SHARD.npy... --query-vectors Q.npy --settings JSON
--hits K --threads T --out RANKING`, with `--shard I --shards S` for a part of the queries. Module `quantisers` defines
the vectors; the search is exhaustive, on the CPU, and ties are broken by passage row.

# Q = queries, P = passages of a block, D = dimensions, K = requested hits
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import Ranking, shard_range, write_ranking
from led_pipeline.data.vectors import pair_products
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.recipe.step_settings import parser_of
from led_pipeline.recipe.variants import VariantSettings
from led_pipeline.search.dense_files import dense_files
from led_pipeline.search.faiss_index import block_keys, cpu_engine
from led_pipeline.search.quantisers import Int8, bits, row_blocks, shortened
from led_pipeline.search.top_k import NONE, best, pack, to_ranking

BLOCK = 65_536  # passages searched at once
PAIRS = 2_000_000  # pairs that are rescored at once


def search(
    paths: Sequence[Path],
    queries: Path,
    settings: VariantSettings,
    hits: int,
    threads: int,
    shard: int = 0,
    shards: int = 1,
) -> Ranking:
    """Rank the best passages for every query of a shard.

    Args:
        paths: the files of the stage's passage vectors, in row order.
        hits: passages per query; all passages if the collection is smaller.

    Raises:
        InputError: the vectors are not longer than `dimensions`, or as `faiss_index.search`.
    """
    faiss.omp_set_num_threads(threads)
    files, query_vectors = dense_files(paths, queries)
    if settings.dimensions is not None and settings.dimensions >= query_vectors.shape[1]:
        raise InputError(
            f"dimensions: {settings.dimensions} is not less than the {query_vectors.shape[1]} dimensions of"
            f" {queries}; lower it under variants in the recipe"
        )
    start, stop = shard_range(len(query_vectors), shard, shards)
    queries_QD = shortened(np.array(query_vectors[start:stop]), settings.dimensions, settings.normalize)
    smaller = Smaller.of(files, settings)
    with Progress("search", len(smaller), "passages") as progress:
        ranking = to_ranking(smaller.best(queries_QD, hits, progress))
    return Ranking(ranking.queries + np.int32(start), ranking.passages, ranking.scores)


@dataclass(frozen=True)
class Smaller:
    """The smaller vectors of all passages, made block by block from those that a stage has stored."""

    files: Sequence[NDArray]
    """The stage's vectors, in row order."""
    settings: VariantSettings
    code: Int8 | None
    """Of int8."""

    @classmethod
    def of(cls, files: Sequence[NDArray], settings: VariantSettings) -> "Smaller":
        """Return the smaller vectors of some files; int8 reads all of them for the ranges."""
        plain = cls(files, settings, None)
        return (
            cls(files, settings, Int8.of(map(plain.short, row_blocks(files))))
            if settings.precision == "int8"
            else plain
        )

    def __len__(self) -> int:
        return sum(map(len, self.files))

    def short(self, vectors: NDArray) -> NDArray:
        """Return vectors of the stage with the variant's number of dimensions."""
        return shortened(vectors, self.settings.dimensions, self.settings.normalize)

    def best(self, queries_QD: NDArray, hits: int, progress: Progress | None = None) -> NDArray[np.uint64]:
        """Return the keys of each query's best passages, unordered.

        Args:
            queries_QD: vectors of the queries, shortened.
            progress: counts the passages that have been searched.
        """
        depth = min(hits * (self.settings.rescore or 1), len(self))
        keys_QK = self._candidates(queries_QD, depth, progress)
        return rescored(self, queries_QD, keys_QK, min(hits, len(self))) if self.settings.rescore else keys_QK

    def _candidates(self, queries_QD: NDArray, depth: int, progress: Progress | None) -> NDArray[np.uint64]:
        is_binary = self.settings.precision == "binary"
        query_bits, query_floats = bits(queries_QD), queries_QD.astype(np.float32)
        keys_QK, first = np.full((len(queries_QD), depth), NONE), 0
        for block in row_blocks(self.files, BLOCK):
            if is_binary:
                keys = binary_keys(query_bits, bits(self.short(block)), queries_QD.shape[1], first, depth)
            else:
                keys = block_keys(cpu_engine, query_floats, self._floats(block), first, depth)
            keys_QK = best(np.concatenate([keys_QK, keys], axis=1), depth)
            first += len(block)
            if progress:
                progress.reach(first)
        return keys_QK

    def _floats(self, block: NDArray) -> NDArray:
        """Return the numbers that a search computes with."""
        return self.short(block) if self.code is None else self.code.decoded(self.code.codes(self.short(block)))

    def score(self, query_1D: NDArray, row: int) -> float:
        """Return the score of one passage for one query (1, D)."""
        first = 0
        for file in self.files:
            if row - first < len(file):
                vector = file[row - first : row - first + 1]
                if self.settings.precision == "binary" and not self.settings.rescore:
                    different = np.unpackbits(bits(query_1D) ^ bits(self.short(vector))).sum()
                    return float(query_1D.shape[1] - 2 * int(different))
                passage = self.short(vector) if self.settings.rescore else self._floats(vector)
                return float(query_1D[0].astype(np.float32) @ passage[0].astype(np.float32))
            first += len(file)
        raise IndexError(f"row {row} is beyond the last passage")


def binary_keys(
    queries: NDArray[np.uint8], block: NDArray[np.uint8], dimensions: int, first: int, depth: int
) -> NDArray[np.uint64]:
    """Return the keys of each query's best passages of one block, by equal bits; first rows win ties."""
    index: Any = faiss.IndexBinaryFlat(8 * queries.shape[1])
    # Counts instead of a heap: FAISS then finds the first rows among equal distances.
    index.use_heap = False
    index.add(block)
    distances, rows = index.search(queries, min(depth, len(block)))
    return pack((dimensions - 2 * distances).astype(np.float32), rows + first)


def rescored(passages: Smaller, queries_QD: NDArray, keys_QK: NDArray[np.uint64], hits: int) -> NDArray[np.uint64]:
    """Return the keys of each query's best candidates by the product of its numbers with float16 vectors."""
    result = np.full((len(queries_QD), hits), NONE)
    at_once = max(1, PAIRS // max(1, keys_QK.shape[1]))
    starts = np.cumsum([0, *map(len, passages.files)])
    for low in range(0, len(queries_QD), at_once):
        keys = keys_QK[low : low + at_once]
        query_of, column = np.nonzero(keys != NONE)
        rows = (keys[query_of, column] & np.uint64(0xFFFF_FFFF)).astype(np.int64)
        scores = np.zeros(len(rows), dtype=np.float32)
        for file, begin in zip(passages.files, starts[:-1], strict=True):
            in_file = np.flatnonzero((rows >= begin) & (rows < begin + len(file)))
            distinct, position = np.unique(rows[in_file] - begin, return_inverse=True)
            vectors = passages.short(np.asarray(file[distinct]))
            scores[in_file] = pair_products(queries_QD[low : low + at_once], vectors, query_of[in_file], position)
        new = np.full(keys.shape, NONE)
        new[query_of, column] = pack(scores, rows)
        result[low : low + at_once] = best(new, hits)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passage-vectors", type=Path, nargs="+", required=True)
    parser.add_argument("--query-vectors", type=Path, required=True)
    parser.add_argument("--settings", type=parser_of(VariantSettings), required=True)
    parser.add_argument("--hits", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--shard", type=int, default=0, help="number of the shard of the queries to search")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    ranking = search(a.passage_vectors, a.query_vectors, a.settings, a.hits, a.threads, a.shard, a.shards)
    write_ranking(a.out, ranking)


if __name__ == "__main__":
    run_main(main)
