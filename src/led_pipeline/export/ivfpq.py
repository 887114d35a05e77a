"""Format ivfpq: a FAISS index of inverted lists with product-quantised vectors, far smaller than a flat one.

# D = dimensions, S = sampled passages
"""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.opened import matrix
from led_pipeline.export.faiss_folder import blocks, dimensions, finish
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.files.errors import InputError

CODES = 256  # values of one byte; FAISS needs as many passages to learn them
PER_LIST = 64  # sampled passages per inverted list; FAISS warns below 39 and uses at most 256
ENOUGH = 65_536  # sampled passages for the codes


def lists(passages: int) -> int:
    """Return the number of inverted lists: the power of two nearest to 4 times the square root of the passages.

    There are at most as many as leave 39 passages for each, FAISS's lower limit.
    """
    nearest = 2 ** round(np.log2(4 * passages**0.5)) if passages else 1
    return max(1, min(int(nearest), passages // 39))


def probes(count: int) -> int:
    """Return the number of lists that a search visits: one of 16, at least 8."""
    return min(count, max(8, count // 16))


def code_bytes(size: int) -> int:
    """Return the bytes of a passage: one for every 4 dimensions, or for the next more that divide the vector."""
    return max(each for each in range(1, size // 4 + 1) if size % each == 0) if size >= 4 else size


def sample(paths: Sequence[Path], count: int, seed: int) -> NDArray[np.float32]:
    """Return the vectors (S, D) of passages that are drawn by a seed, in row order."""
    files = [matrix(path) for path in paths]
    starts = np.cumsum([0, *map(len, files)])
    total = int(starts[-1])
    rows = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    parts = [
        np.asarray(file[rows[(rows >= low) & (rows < high)] - low], dtype=np.float32)
        for file, low, high in zip(files, starts[:-1], starts[1:], strict=True)
    ]
    return np.ascontiguousarray(np.concatenate(parts))


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write a FAISS IndexIVFPQ, trained on a sample of the passages.

    Raises:
        InputError: there are too few passages, or a size does not fit the vectors.
    """
    size, passages = dimensions(source, options), source.passage_count()
    if passages < CODES:
        raise InputError(f"ivfpq: {passages} passages, and FAISS needs at least {CODES} to train it; choose flat")
    count, code = options.ivf_lists or lists(passages), options.pq_bytes or code_bytes(size)
    if size % code:
        raise InputError(
            f"--pq-bytes: {code} does not divide the {size} dimensions of the vectors; write {code_bytes(size)}"
        )
    if count > passages:
        raise InputError(f"--ivf-lists: {count} lists for {passages} passages; write at most {passages // 39}")
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(size), size, count, code, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.omp_set_num_threads(options.threads)
    training = sample(source.passage_vectors, max(PER_LIST * count, ENOUGH), options.seed)
    index.train(training)
    drawn = len(training)
    del training
    for block in blocks(source.passage_vectors):
        index.add(block)
    index.nprobe = min(count, options.ivf_probes or probes(count))
    sizes = {"dimensions": size, "lists": count, "probes": index.nprobe, "code_bytes": code}
    return finish(source, folder, index, options, sizes | {"training_passages": drawn, "seed": options.seed})
