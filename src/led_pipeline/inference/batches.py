"""Batches: vectors of many texts and scores of many pairs, computed in batches of similar length.

A thread assembles the next batches and copies them to a GPU from pinned memory; results are copied back on a second
stream while the next batch is computed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from led_pipeline.data.tokens import Batch, TokenStore, pairs, shared_tokens
from led_pipeline.inference.quantised import in_int8
from led_pipeline.jobs.progress import Progress
from led_pipeline.models.backbone import PackedBatch, to_packed_batch
from led_pipeline.recipe.representation import RankerRepresentation

TOKENS_PER_BATCH = {"cpu": 8_192, "cuda": 131_072}
READY_BATCHES = 2  # assembled ahead of the one that is computed

# Of the matrix products; None: float32 on a processor, on a GPU fp16 or TF32 (`products`).
Precision = Literal["float32", "bf16", "fp16", "int8"] | None
PRECISIONS = "of the matrix products; unless given, float32 on a processor, on a GPU fp16 (other than BERTs: TF32)"
# Types of models whose activations stay within what fp16 holds.
FP16_TYPES = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "camembert")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")
Group = NDArray[np.int64]


def by_length(lengths: NDArray[np.int64], tokens_per_batch: int) -> Iterator[Group]:
    """Yield index groups of similar length, longest first, each of at most `tokens_per_batch` or of one text."""
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    start = before = 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(ends, before + tokens_per_batch, side="right")))
        yield order[start:stop]
        start, before = stop, int(ends[stop - 1])


def prefetched(make: Callable[[Group], T], groups: Iterable[Group]) -> Iterator[tuple[Group, T]]:
    """Yield every group with the result of `make`, which runs ahead in another thread."""
    with ThreadPoolExecutor(1) as thread:
        waiting: deque = deque()
        for group in groups:
            waiting.append((group, thread.submit(make, group)))
            if len(waiting) > READY_BATCHES:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


@contextmanager
def products(model: nn.Module, device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute a model's matrix products in a precision, within this context.

    On a GPU the default is fp16 for BERT and its like (FP16_TYPES), and TF32 for all others, whose activations may
    exceed what fp16 holds (T5, decoders). Both have 10 bits after the binary point; bf16 has 7 and changes the order of
    ten times as many pairs (docs/measurements/performance.md).
    """
    dtype = DTYPES.get(precision or "")
    tf32 = False
    if precision is None and device.type == "cuda":
        backbones = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
        tf32 = not backbones or not all(part.config.model_type in FP16_TYPES for part in backbones)
        dtype = None if tf32 else torch.float16
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else before)
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@torch.inference_mode()
def _forward_all(
    model: nn.Module,
    lengths: NDArray[np.int64],
    assemble: Callable[[Group], Batch],
    device: torch.device,
    store_result: Callable[[Group, Tensor], None],
    precision: Precision,
    progress: Progress | None,
) -> None:
    """Run a model on groups of similar length; `store_result` gets each result with the indices that it belongs to."""
    gpu = device.type == "cuda"
    model = in_int8(model, device) if precision == "int8" else model
    back = torch.cuda.Stream(device) if gpu else None
    running: tuple[Group, Tensor, PackedBatch, torch.cuda.Event | None] | None = None

    def finish(group: Group, result: Tensor, _: PackedBatch, computed: torch.cuda.Event | None) -> None:
        if back is None or computed is None:
            store_result(group, result)
        else:
            with torch.cuda.stream(back):
                back.wait_event(computed)
                result.record_stream(back)
                store_result(group, result)
        if progress:
            progress.add(len(group))

    groups = by_length(lengths, TOKENS_PER_BATCH[device.type])
    for group, texts in prefetched(lambda group: to_packed_batch(assemble(group), device), groups):
        with products(model, device, precision):
            result = model(texts)
        last, running = running, (group, result, texts, torch.cuda.current_stream().record_event() if gpu else None)
        if last:
            finish(*last)
    if running:
        finish(*running)
    if back is not None:
        torch.cuda.current_stream().wait_stream(back)  # results may be used from here on


def encode(
    model: nn.Module,
    store: TokenStore,
    rows: NDArray[np.int64],
    length: int,
    device: torch.device,
    store_result: Callable[[Group, Tensor], None],
    precision: Precision = None,
    progress: Progress | None = None,
) -> None:
    """Encode the texts at some rows, cut to `length` tokens.

    Args:
        store_result: gets positions within `rows` and their vectors, batch by batch.
    """
    rows = np.asarray(rows, dtype=np.int64)
    lengths = store.lengths(rows, length)
    _forward_all(
        model, lengths, lambda group: store.texts(rows[group], length), device, store_result, precision, progress
    )


def score(
    model: nn.Module,
    queries: TokenStore,
    passages: TokenStore,
    rows: tuple[NDArray[np.int32], NDArray[np.int32]],
    settings: RankerRepresentation,
    device: torch.device,
    precision: Precision = None,
    progress: Callable[[int], Progress] | None = None,
) -> NDArray[np.float32]:
    """Return a ranker's score of every (query row, passage row); repeated pairs are computed once.

    Args:
        progress: makes the counter of the distinct pairs.
    """
    unique, inverse = np.unique(rows[0].astype(np.int64) * len(passages) + rows[1], return_inverse=True)
    query_rows, passage_rows = np.divmod(unique, len(passages))
    query_length, passage_length = settings.query_length, settings.passage_length
    lengths = queries.lengths(query_rows, query_length) + passages.lengths(passage_rows, passage_length)
    lengths -= shared_tokens(queries)
    scores = np.empty(len(unique), dtype=np.float32)

    def assemble(group: Group) -> Batch:
        return pairs(queries, query_rows[group], query_length, passages, passage_rows[group], passage_length)

    def store(group: Group, logits: Tensor) -> None:
        scores[group] = logits.float().cpu().numpy()

    with progress(len(unique)) if progress else nullcontext() as counter:
        _forward_all(model, lengths, assemble, device, store, precision, counter)
    return scores[inverse]
