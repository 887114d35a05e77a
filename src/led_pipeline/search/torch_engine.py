"""Search dense vectors exactly by inner product with torch, on GPUs of any type that torch has kernels for.

The collection is read once, block by block, into pinned memory. The GPUs take the blocks in turn, each for all queries;
checks, keys and merging happen on the device, and only the best keys come back. Float16 vectors are multiplied without
loss and added in float32; all others are float32. On a processor it gives the same rankings, for tests and for
environments without FAISS.

A key is a signed integer that is larger for a better hit: the score in the upper half, the falling row in the lower
half. Ties are therefore broken by passage row, also at the cut-off, however long they are.

# D = dimensions, P = passages of a block, Q = queries of a tile, K = requested hits
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.jobs.progress import Progress
from led_pipeline.search.dense_files import Part, not_finite, parts_of_blocks
from led_pipeline.search.device_turns import LOWEST, QUERIES, best_first, in_turns

BLOCK = 131_072  # passages multiplied at once
SCORES = 2**29  # scores held at once on a GPU, 2 GiB; fewer where it has less memory
SCORES_CPU = 2**25
TIED_SCORES = 2**27  # scores of queries with ties that are compared at once


def keys_of(scores: Tensor, rows: Tensor) -> Tensor:
    """Return one key per hit, int64; a larger key is a better hit. Rows must fit into 32 bits."""
    bits = (scores + 0.0).view(torch.int32)  # adding 0 turns -0.0 into 0.0
    rising = bits ^ ((bits >> 31) & 0x7FFF_FFFF)  # integers in the order of the scores
    return (rising.long() << 32) | (0xFFFF_FFFF - rows)


def packed(keys: Tensor) -> NDArray[np.uint64]:
    """Return keys as `top_k.pack` makes them, in host memory."""
    unsigned = keys.cpu().numpy().view(np.uint64)
    return ~(unsigned ^ np.uint64(0x8000_0000_0000_0000))


def best_keys(
    scores_QP: Tensor, first: int, k: int, to_keys: Callable[[Tensor, Tensor], Tensor] = keys_of, least: float = -inf
) -> Tensor:
    """Return the keys of each query's best k passages of a block that starts at row `first`; all if it has fewer.

    Args:
        to_keys: makes the keys of scores and rows.
        least: ties at this score or below need not be broken.
    """
    passages = scores_QP.shape[1]
    if k >= passages:
        return to_keys(scores_QP, torch.arange(first, first + passages, device=scores_QP.device))
    scores, rows = scores_QP.topk(k + 1, dim=1)  # one more shows whether the cut-off is within a tie
    keys = to_keys(scores[:, :k], rows[:, :k] + first)
    tied = ((scores[:, k - 1] == scores[:, k]) & (scores[:, k] > least)).nonzero().squeeze(1)
    for part in tied.split(max(1, TIED_SCORES // passages)):
        lowest, of_rows = _lowest_rows(scores_QP[part], scores[part, k - 1], k)
        keys[part] = to_keys(lowest, of_rows + first)
    return keys


def _lowest_rows(scores_QP: Tensor, cut_off_Q: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return all scores above a cut-off and, up to k in all, those of the lowest rows that equal it; and their rows."""
    above = scores_QP > cut_off_Q.unsqueeze(1)
    equal = scores_QP == cut_off_Q.unsqueeze(1)
    missing_Q = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= missing_Q))
    rows = chosen.nonzero()[:, 1].view(len(scores_QP), k)
    return scores_QP.gather(1, rows), rows


def products(queries_QD: Tensor, block_PD: Tensor) -> Tensor:
    """Return the scores (Q, P) in float32."""
    if queries_QD.dtype == torch.float16 and queries_QD.is_cuda:
        return torch.mm(queries_QD, block_PD.T, out_dtype=torch.float32)
    return queries_QD.float() @ block_PD.float().T


@dataclass(frozen=True)
class Block:
    """Some passages, in a buffer of the host."""

    parts: list[Part]
    """where they come from"""
    vectors_PD: Tensor
    first: int
    """row of the first passage"""


class DeviceSearch:
    """The search of some queries on one device, which keeps their best keys.

    Args:
        queries_QD: float16 or float32; the blocks have the same type.
        k: hits per query.
    """

    def __init__(self, device: torch.device, queries_QD: NDArray, k: int):
        self.device = device
        self.queries_QD = torch.from_numpy(queries_QD).to(device)
        self.keys_QK = torch.full((len(queries_QD), k), LOWEST, device=device)
        self.copying = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.scores = SCORES_CPU
        if device.type == "cuda":
            self.scores = min(SCORES, torch.cuda.mem_get_info(device)[0] // 24)  # scores, their copies, topk's buffers

    def add_block(self, block: Block) -> int | None:
        """Search a block, as `add`."""
        return self.add(block.vectors_PD, block.first)

    @torch.inference_mode()
    def add(self, block_PD: Tensor, first: int) -> int | None:
        """Search a block that starts at row `first`; return its first row that is not finite, or None.

        The block may be overwritten as soon as this returns.
        """
        with torch.cuda.device(self.device) if self.copying else nullcontext():
            block_PD, bad = self._copy(block_PD)
            if bad is not None:
                return bad
            k, tile = self.keys_QK.shape[1], max(1, self.scores // len(block_PD))
            for start in range(0, len(self.queries_QD), tile):
                queries = slice(start, start + tile)
                keys = best_keys(products(self.queries_QD[queries], block_PD), first, k)
                self.keys_QK[queries] = torch.cat([self.keys_QK[queries], keys], dim=1).topk(k, sorted=False).values
        return None

    def _copy(self, block_PD: Tensor) -> tuple[Tensor, int | None]:
        """Return a block on the device, and the first row that is not finite; wait for these two alone."""
        with torch.cuda.stream(self.copying) if self.copying else nullcontext():
            copy = block_PD.to(self.device, non_blocking=True)
            finite = torch.isfinite(copy).all(dim=1)
            bad = None if finite.all().item() else int((~finite).nonzero()[0].item())
        if self.copying:
            copy.record_stream(torch.cuda.current_stream(self.device))
        return copy, bad


def search(
    devices: Sequence[torch.device],
    paths: Sequence[Path],
    files: Sequence[NDArray],
    queries_QD: NDArray,
    hits: int,
) -> Iterator[NDArray[np.uint64]]:
    """Yield the keys of each query's best passages (Q, K), as `top_k.pack` makes them, best first, for some queries.

    Only keys that are yielded are in host memory.

    Args:
        paths, files: of the passages' vectors, in row order.
        queries_QD: finite, float16 or float32; the passages are converted to this type.

    Raises:
        InputError: a value is not finite.
    """
    total = sum(map(len, files))
    k = min(hits, total)
    if not len(queries_QD) or not k:
        yield np.empty((len(queries_QD), k), dtype=np.uint64)
        return
    at_once = _queries_at_once(devices, queries_QD, k)
    rounds = [queries_QD[start : start + at_once] for start in range(0, len(queries_QD), at_once)]
    with Progress("search", total * len(rounds), "passages") as progress:
        for part in rounds:
            yield from _search_round(devices, paths, files, part, k, progress)


def _queries_at_once(devices: Sequence[torch.device], queries_QD: NDArray, k: int) -> int:
    """Return how many queries fit on every device with their keys; usually all, so that the collection is read once."""
    free = [torch.cuda.mem_get_info(device)[0] for device in devices if device.type == "cuda"]
    per_query = 2 * 8 * k + queries_QD.itemsize * queries_QD.shape[1]  # keys, once more while they are merged
    most = max(1, min(free) // 3 // per_query) if free else len(queries_QD)
    return most if most < QUERIES else most // QUERIES * QUERIES


def _search_round(
    devices: Sequence[torch.device],
    paths: Sequence[Path],
    files: Sequence[NDArray],
    queries_QD: NDArray,
    k: int,
    progress: Progress,
) -> Iterator[NDArray[np.uint64]]:
    """Read all passages once for some queries, and yield the queries' best keys."""
    searches = [DeviceSearch(device, queries_QD, k) for device in devices]
    blocks = _read_blocks(devices, paths, files, queries_QD)
    for block, bad in in_turns([search.add_block for search in searches], blocks):
        if bad is not None:
            raise _error(block.parts, bad)
        progress.add(len(block.vectors_PD))
    yield from map(packed, best_first([search.keys_QK for search in searches]))


def _read_blocks(
    devices: Sequence[torch.device], paths: Sequence[Path], files: Sequence[NDArray], queries_QD: NDArray
) -> Iterator[Block]:
    """Read the passages in the type of the queries, each block into one of some buffers in turn."""
    pinned = devices[0].type == "cuda"
    dtype = torch.float16 if queries_QD.dtype == np.float16 else torch.float32
    rows = min(BLOCK, sum(map(len, files)))
    count = len(devices) + 1  # those that are searched, and the one that is read
    buffers = [torch.empty(rows, queries_QD.shape[1], dtype=dtype, pin_memory=pinned) for _ in range(count)]
    first = 0
    for number, parts in enumerate(parts_of_blocks(paths, files, BLOCK)):
        yield (block := Block(parts, _read(parts, buffers[number % count]), first))
        first += len(block.vectors_PD)


def _read(parts: Sequence[Part], buffer_PD: Tensor) -> Tensor:
    """Copy the parts of a block into a buffer, and return the rows that they fill."""
    block: Any = buffer_PD.numpy()
    row = 0
    for _, _, vectors in parts:
        block[row : row + len(vectors)] = vectors
        row += len(vectors)
    return buffer_PD[:row]


def _error(parts: Sequence[Part], row: int) -> Exception:
    """Return the error of a row of a block that is not finite."""
    for path, start, vectors in parts:
        if row < len(vectors):
            return not_finite(path, start + row)
        row -= len(vectors)
    raise IndexError(row)


def probe(devices: Sequence[torch.device] | None = None) -> str:
    """Search a few vectors on every device (by default all GPUs), compare with sorting, and return their names.

    Raises:
        RuntimeError: a device computes something else, or cannot compute.
    """
    names = []
    for device in devices or [torch.device("cuda", i) for i in range(torch.cuda.device_count())]:
        random = np.random.default_rng(0)
        queries, passages = (random.integers(-2, 3, (n, 64)).astype(np.float16) for n in (8, 4_096))
        search_on = DeviceSearch(device, queries, 50)
        for first in (0, 2_048):
            search_on.add(torch.from_numpy(passages[first : first + 2_048]), first)
        rows = np.sort(packed(search_on.keys_QK), axis=1) & np.uint64(0xFFFF_FFFF)
        scores = queries.astype(np.float64) @ passages.astype(np.float64).T
        if not (rows == np.argsort(-scores, axis=1, kind="stable")[:, :50].astype(np.uint64)).all():
            raise RuntimeError(f"{device}: the search of a few vectors gives other passages than sorting all scores")
        names.append(torch.cuda.get_device_name(device) if device.type == "cuda" else "processor")
    return ", ".join(names)
