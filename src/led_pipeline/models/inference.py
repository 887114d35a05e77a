"""Inference: vectors of many texts and scores of many pairs, in batches of similar length, results in given order."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline.data.tokens import Batch, TokenStore, pairs

TOKENS_PER_BATCH = {"cpu": 8_192, "cuda": 131_072}


def to_tensors(batch: Batch, device: torch.device, *, types: bool = False) -> tuple[Tensor, ...]:
    """Return ids and mask, and the token types if asked for, as int64 tensors on a device."""
    arrays = (batch.ids, batch.mask, batch.types) if types else (batch.ids, batch.mask)
    return tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays)


def by_length(lengths: NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Yield index groups of similar length, longest first, each at most `tokens_per_batch` when padded."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(1, tokens_per_batch // longest)
        yield order[start : start + size]
        start += size


@torch.inference_mode()
def _forward_all(
    lengths: NDArray[np.int64],
    device: torch.device,
    forward: Callable[[NDArray[np.int64]], Tensor],
    keep: Callable[[NDArray[np.int64], Tensor], None],
) -> None:
    """Run `forward` on groups of similar length and hand each result to `keep` with the indices that it belongs to."""
    for group in by_length(lengths, TOKENS_PER_BATCH[device.type]):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            result = forward(group)
        keep(group, result)


def encode(
    model: nn.Module,
    store: TokenStore,
    rows: NDArray[np.int64],
    length: int,
    device: torch.device,
    keep: Callable[[NDArray[np.int64], Tensor], None],
) -> None:
    """Encode the texts at some rows, cut to `length` tokens; `keep` gets positions within `rows` and their vectors."""
    lengths = np.minimum(store.lengths(0, len(store))[rows], length)
    _forward_all(lengths, device, lambda group: model(*to_tensors(store.texts(rows[group], length), device)), keep)


def score(
    model: nn.Module,
    queries: TokenStore,
    passages: TokenStore,
    rows: tuple[NDArray[np.int32], NDArray[np.int32]],
    settings: dict,
    device: torch.device,
) -> NDArray[np.float32]:
    """Return a ranker's score of every (query row, passage row); a pair that occurs several times is computed once."""
    unique, inverse = np.unique(rows[0].astype(np.int64) * len(passages) + rows[1], return_inverse=True)
    query_rows, passage_rows = np.divmod(unique, len(passages))
    query_length, passage_length = settings["query_length"], settings["passage_length"]
    lengths = np.minimum(queries.lengths(0, len(queries))[query_rows], query_length)
    lengths = lengths + np.minimum(passages.lengths(0, len(passages))[passage_rows], passage_length)
    scores = np.empty(len(unique), dtype=np.float32)

    def forward(group: NDArray[np.int64]) -> Tensor:
        batch = pairs(queries, query_rows[group], query_length, passages, passage_rows[group], passage_length)
        return model(*to_tensors(batch, device, types=True))

    def keep(group: NDArray[np.int64], logits: Tensor) -> None:
        scores[group] = logits.cpu().numpy()

    _forward_all(lengths, device, forward, keep)
    return scores[inverse]
