"""Texts of a run as batches for an encoder and for its graph, to compare both.

# B = texts
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tables import count_rows, read_rows, write_strings
from led_pipeline.data.tokens import Batch, TokenStore, pairs, tokenise
from led_pipeline.export.source import Source
from led_pipeline.files.errors import InputError
from led_pipeline.models.backbone import PackedBatch, padded, to_packed_batch
from led_pipeline.models.bi_encoder import encoder_of, encoders
from led_pipeline.models.ranker import Ranker
from led_pipeline.recipe.representation import RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

TEXTS = 32  # queries, passages or pairs that are compared
AT_ONCE = 4  # texts of a batch: a lexicon graph holds the logits of all their tokens


@dataclass(frozen=True)
class Example:
    """A batch: the inputs of a graph, the number of each of its rows, and the encoder's outputs in the rows' order."""

    inputs: dict[str, NDArray[np.int64]]
    numbers: NDArray[np.int64]
    outputs: NDArray[np.float32]


def spaced(path: Path, count: int, columns: list[str]) -> dict[str, list[str]]:
    """Return `count` rows of a table of texts, from its first to its last in even steps."""
    total = count_rows(path)
    rows = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    picked: dict[str, list[str]] = {name: [] for name in columns}
    for row in rows.tolist():
        batch = next(iter(read_rows(path, row, row + 1, columns)))
        for name in columns:
            picked[name] += batch[name]
    return picked


def store(
    source: Source, texts: dict[str, list[str]], side: Side, settings: ModelSettings, scratch: Path
) -> TokenStore:
    """Return texts as a stage reads them, tokenised with the model's tokenizer into a file of a scratch folder."""
    table, tokens = scratch / f"{side}.parquet", scratch / f"{side}.arrow"
    write_strings(table, [texts], list(texts))
    tokenise(table, str(source.model), source.recipe.dataset.max_tokens, 0, 1, tokens)
    return with_prefix(TokenStore.for_stage([tokens], settings), side, str(source.model), settings)


def examples(
    source: Source, model: nn.Module, settings: ModelSettings, sides: tuple[Side, ...], scratch: Path
) -> list[Example]:
    """Return examples of the run's texts, with the outputs of the packed encoder."""
    queries = store(source, spaced(source.queries, TEXTS, ["text"]), "query", settings, scratch)
    passages = store(source, spaced(source.passages, TEXTS, ["title", "text"]), "passage", settings, scratch)
    stores: dict[Side, TokenStore] = {"query": queries, "passage": passages}
    result = []
    if isinstance(settings, RankerRepresentation):
        count = min(len(queries), len(passages))
        lengths = settings.query_length, settings.passage_length
        for rows in _groups(count):
            batch = pairs(queries, rows, lengths[0], passages, rows, lengths[1])
            result.append(example(model, model, batch, rows))
        return result
    for side in sides:
        for rows in _groups(len(stores[side])):
            batch = stores[side].texts(rows, settings.length(side))
            result.append(example(model, encoder_of(model, side), batch, rows))
    return result


def _groups(count: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, count, AT_ONCE):
        yield np.arange(first, min(first + AT_ONCE, count))


@torch.inference_mode()
def example(model: nn.Module, encoder: nn.Module, batch: Batch, rows: NDArray[np.int64]) -> Example:
    """Return one batch as inputs of a graph, and the encoder's outputs."""
    texts = to_packed_batch(batch, torch.device("cpu"))
    outputs = encoder(texts).float().numpy()
    order = np.arange(len(texts)) if texts.order is None else texts.order
    return Example(inputs_of(model, texts), rows[order], outputs[order])


def inputs_of(model: nn.Module, texts: PackedBatch) -> dict[str, NDArray[np.int64]]:
    """Return a packed batch as the padded inputs of a graph, in the order of the packed batch."""
    if isinstance(model, Ranker) and not model.has_types:
        texts = replace(texts, types_N=None)
    backbones = [part.backbone for part in encoders(model)]
    if not backbones:
        raise InputError("the model has no encoder")
    return {name: values.numpy().astype(np.int64) for name, values in padded(backbones[0], texts)[0].items()}
