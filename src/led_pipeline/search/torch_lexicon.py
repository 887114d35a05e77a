"""Exact search of a lexicon stage's vectors with torch: products of densified blocks of the posting file, on GPUs.

Some blocks of passages become a matrix with a row per term that a query of a tile has; a tile of queries becomes a
matrix with a column per term. Their product is every score. Impacts up to 2,048 are exact in float16, products are
added in float32, and integers below 2**24 are exact there; where a score could be larger, it is computed in float64.
So passages, order and scores are those of `exact_lexicon` and of Anserini. Queries with the same rare term are
neighbours, which leaves fewer terms per tile.

The file is read once. The GPUs take the groups of blocks in turn, each for all queries; a block is copied to the device
as it is in the file. On a processor it gives the same rankings, for tests.

# Q = queries of a tile, W = their distinct terms, P = passages of a group, K = requested hits
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.jobs.progress import Progress
from led_pipeline.search.device_turns import LOWEST, best_first, in_turns
from led_pipeline.search.largest_scores import largest_scores
from led_pipeline.search.posting_file import ENTRIES, HIGHEST, IMPACTS, POSTINGS, ROWS, STARTS, TERMS, WIDTH, Postings
from led_pipeline.search.torch_engine import best_keys

GROUP_ROWS = 65_536  # passages that are searched at once
TILE = 4_096  # queries that are searched at once
TILE_CPU = 128
EXACT_IMPACT = 2_048  # integers up to here are exact in float16
EXACT_SCORE = 2**24  # integers below are exact in float32
LARGEST_ROW = 0xFFFF_FFFF
UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}


def keys_of(scores: Tensor, rows: Tensor) -> Tensor:
    """Return one key per hit, int64: the score in the upper half, the falling row in the lower one."""
    keys = (scores.long() << 32) | (LARGEST_ROW - rows)
    return torch.where(scores > 0, keys, LOWEST)  # a score of 0: no common term


@dataclass(frozen=True)
class Group:
    """Some blocks of the posting file."""

    first: int
    """row of the first passage"""
    passages: int
    blocks: NDArray[np.int64]
    """their rows of the table"""

    @property
    def highest(self) -> int:
        """The largest impact."""
        return int(self.blocks[:, HIGHEST].max())


def groups(postings: Postings, rows: int) -> Iterator[Group]:
    """Yield groups of blocks of at most `rows` passages, or of one block."""
    step = max(1, rows // postings.block_rows)
    for start in range(0, len(postings.table), step):
        blocks, first = postings.table[start : start + step], start * postings.block_rows
        yield Group(first, min(len(blocks) * postings.block_rows, postings.passages - first), blocks)


class PostingsOnDevice:
    """The postings of a group on a device: term, passage within the group, impact; (postings,) each."""

    def __init__(self, postings: Postings, group: Group, device: torch.device):
        parts = [self._block(postings, row, i * postings.block_rows, device) for i, row in enumerate(group.blocks)]
        self.terms, self.rows, self.impacts = (torch.cat(tensors) for tensors in zip(*parts, strict=True))

    @staticmethod
    def _block(
        postings: Postings, row: NDArray[np.int64], first: int, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        begin, width = int(row[TERMS]), int(row[WIDTH])
        content = torch.from_numpy(postings.data[begin : row[IMPACTS] + width * row[POSTINGS]].copy()).to(device)

        def array(place: int, count: int, size: int) -> Tensor:
            start = int(row[place]) - begin
            return content[start : start + size * count].view(UNSIGNED[size]).long()

        terms, starts = array(TERMS, int(row[ENTRIES]), postings.term_bytes), array(STARTS, int(row[ENTRIES]) + 1, 4)
        rows, impacts = array(ROWS, int(row[POSTINGS]), 2), array(IMPACTS, int(row[POSTINGS]), width)
        return torch.repeat_interleave(terms, starts.diff()), rows + first, impacts


@dataclass(frozen=True)
class Tile:
    """Queries that are searched together, on a device."""

    queries: Tensor
    """(Q,) their numbers"""
    places: Tensor
    """(vocabulary,) the place of each term among those of the tile, -1 for all others"""
    width: int
    """number of terms W"""
    pairs: tuple[Tensor, Tensor, Tensor]
    """query of the tile, place of the term, impact"""
    highest: int
    """the largest impact"""
    bound: float
    """no score is larger"""

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """Return the impacts as a matrix (Q, W)."""
        matrix = torch.zeros(len(self.queries), self.width, dtype=dtype, device=self.queries.device)
        matrix[self.pairs[0], self.pairs[1]] = self.pairs[2].to(dtype)
        return matrix


def tiles(postings: Postings, queries: SparseVectors, size: int, device: torch.device) -> Iterator[Tile]:
    """Yield the queries in tiles of at most `size`; those with the same rarest term are neighbours."""
    bounds, vocabulary = largest_scores(postings, queries), len(postings.terms)
    terms = queries.terms.values.astype(np.int64)
    in_file = terms < vocabulary
    query = np.repeat(np.arange(len(queries)), queries.terms.lengths)[in_file]
    terms, impacts = terms[in_file], queries.weights.values[in_file].astype(np.int64)
    rarest = np.full(len(queries), np.iinfo(np.int64).max)
    np.minimum.at(rarest, query, postings.terms[terms, 0].astype(np.int64) * (vocabulary + 1) + terms)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(queries)))])
    order = np.argsort(rarest, kind="stable")
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        lengths = offsets[numbers + 1] - offsets[numbers]
        selected = np.repeat(offsets[numbers] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        present = np.unique(terms[selected])
        places = np.full(vocabulary, -1)
        places[present] = np.arange(len(present))
        weights = impacts[selected]
        yield Tile(
            torch.from_numpy(numbers).to(device),
            torch.from_numpy(places).to(device),
            len(present),
            (
                torch.from_numpy(np.repeat(np.arange(len(numbers)), lengths)).to(device),
                torch.from_numpy(places[terms[selected]]).to(device),
                torch.from_numpy(weights).to(device),
            ),
            int(weights.max(initial=0)),
            float(bounds[numbers].max()),
        )


class DeviceSearch:
    """The search of all queries on one device, which keeps their best keys.

    Args:
        k: hits per query.
        tile: queries at once.
    """

    def __init__(self, device: torch.device, postings: Postings, queries: SparseVectors, k: int, tile: int):
        self.device, self.postings = device, postings
        self.tiles = list(tiles(postings, queries, tile, device))
        self.keys_QK = torch.full((len(queries), k), LOWEST, device=device)

    @torch.inference_mode()
    def add(self, group: Group) -> None:
        """Search a group of passages."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            on_device = PostingsOnDevice(self.postings, group, self.device)
            for tile in self.tiles:
                scores_QP = self._scores(tile, group, on_device)
                keys = best_keys(scores_QP, group.first, self.keys_QK.shape[1], keys_of, least=0)
                before = self.keys_QK[tile.queries]
                both = torch.cat([before, keys], dim=1)
                self.keys_QK[tile.queries] = both.topk(before.shape[1], sorted=False).values

    def _scores(self, tile: Tile, group: Group, on_device: PostingsOnDevice) -> Tensor:
        """Return the scores (Q, P), exact integers."""
        places = tile.places[on_device.terms]
        used = places >= 0
        dtype = exact_type(max(tile.highest, group.highest), tile.bound, self.device)
        dense_WP = torch.zeros(tile.width, group.passages, dtype=dtype, device=self.device)
        flat = places[used] * group.passages + on_device.rows[used]
        # Large impacts are several postings of a passage.
        dense_WP.view(-1).scatter_add_(0, flat, on_device.impacts[used].to(dtype))
        if dtype == torch.float16:
            return torch.mm(tile.matrix(dtype), dense_WP, out_dtype=torch.float32)
        return tile.matrix(dtype) @ dense_WP


def exact_type(highest: int, bound: float, device: torch.device) -> torch.dtype:
    """Return the type in which products and sums of some impacts are exact: the fastest one on a device.

    Args:
        highest: the largest impact.
        bound: no score is larger.
    """
    if bound >= EXACT_SCORE:
        return torch.float64
    return torch.float16 if device.type == "cuda" and highest <= EXACT_IMPACT else torch.float32


def search(
    devices: Sequence[torch.device], postings: Postings, queries: SparseVectors, k: int, group_rows: int = GROUP_ROWS,
    tile: int | None = None,
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:  # fmt: skip
    """Yield the rows and scores of the best k passages of every query, by impacts; see `exact_lexicon.search`.

    Args:
        queries: with integer weights, whose scores fit into 32 bits.
        group_rows: passages at once.
        tile: queries at once; by default as many as a device of this type takes.
    """
    k = max(1, min(k, postings.passages))
    tile = tile or (TILE if devices[0].type == "cuda" else TILE_CPU)
    searches = [DeviceSearch(device, postings, queries, k, tile) for device in devices]
    with Progress("search", postings.passages, "passages") as progress:
        for group, _ in in_turns([each.add for each in searches], groups(postings, group_rows)):
            progress.add(group.passages)
    for best in best_first([each.keys_QK for each in searches]):
        for keys in best.cpu().numpy():
            keys = keys[keys != LOWEST]
            yield (LARGEST_ROW - (keys & LARGEST_ROW)).astype(np.int32), keys >> 32
