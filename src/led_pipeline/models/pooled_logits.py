"""Max-pooled logits: the highest logit per text and vocabulary entry, without holding the logits of all positions.

A masked-LM head gives one row of logits per token, and SPLADE-max uses one value per text and entry. The product with
the output embeddings runs in chunks of whole texts and stores the maximum. A CPU takes the maximum of all texts of one
length at a time. On a GPU each of these is a launch, so there the texts of a chunk are padded with copies of their last
token, which change no maximum, and one kernel takes the maximum of the whole chunk.

The gradient visits only the tokens of the maxima, and only where it is not zero (after relu: a text's active terms). A
GPU records those tokens in the forward pass. On a CPU a maximum with its place takes ten times as long as one without
(torch 2.13 vectorises only the latter), so the backward pass computes the logits of the active terms again and looks
the tokens up.

# B = texts, N = tokens of all texts, H = hidden size, V = vocabulary entries, K = non-zero gradient entries
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from led_pipeline.models.backbone import to_device

CHUNK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}  # logits held at a time; on a CPU they should stay near its caches
CHUNK_ENTRIES = 2**17  # gradient entries gathered at a time
PADDING = 64  # tokens of padding that a chunk may have, or an eighth of its tokens if that is more
Highest = tuple[Tensor, Tensor | None]  # highest logits (B, V), and their tokens (B, V) as int32 if they are recorded


def _chunks(lengths: list[int], tokens: int) -> Iterator[tuple[int, int]]:
    """Cut texts into ranges of at most `tokens` tokens, or of one text."""
    first = size = 0
    for text, length in enumerate(lengths):
        if text > first and size + length > tokens:
            yield first, text
            first, size = text, 0
        size += length
    if lengths:
        yield first, len(lengths)


def _places(hidden_NH: Tensor, weight_VH: Tensor, lengths: list[int], texts_K: Tensor, terms_K: Tensor) -> Tensor:
    """Return the token with the highest logit of each (text, term), (K,); the entries are sorted by text."""
    tokens, start = [], 0
    terms_by_text = torch.split(terms_K, texts_K.bincount(minlength=len(lengths)).tolist())
    for length, terms in zip(lengths, terms_by_text, strict=True):
        if len(terms):
            logits = hidden_NH[start : start + length] @ weight_VH[terms].T
            tokens.append(logits.T.argmax(dim=1) + start)
        start += length
    return torch.cat(tokens) if tokens else terms_K


def _padded_chunks(lengths: Sequence[int], tokens: int) -> Iterator[tuple[int, int, int]]:
    """Cut texts into ranges, each with the length of its longest text, to which its texts are padded.

    A range has at most `tokens` tokens with its padding, or one text, and little padding (see PADDING).
    """
    first = size = longest = 0
    for text, length in enumerate(lengths):
        both, area = size + length, (text - first + 1) * max(longest, length)
        if text > first and (area > tokens or area - both > max(PADDING, both // 8)):
            yield first, text, longest
            first, size, longest = text, 0, 0
        size, longest = size + length, max(longest, length)
    if lengths:
        yield first, len(lengths), longest


def _new(hidden_NH: Tensor, texts: int, size: int, recorded: bool) -> Highest:
    """Return the lowest float for every text and entry, and room for tokens."""
    highest = hidden_NH.new_full((texts, size), torch.finfo(hidden_NH.dtype).min)
    return highest, torch.zeros(highest.shape, dtype=torch.int32, device=hidden_NH.device) if recorded else None


def by_length(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, lengths: list[int], recorded: bool
) -> Highest:
    """Return the highest logits, with one maximum for all texts of one length in a chunk: the plain way."""
    size, token = len(weight_VH), 0
    highest, where = _new(hidden_NH, len(lengths), size, recorded)
    for first, last in _chunks(lengths, CHUNK_ELEMENTS[hidden_NH.device.type] // size):
        chunk = hidden_NH[token : token + sum(lengths[first:last])]
        logits, text, row = torch.nn.functional.linear(chunk, weight_VH, bias_V), first, 0
        for length, run in groupby(lengths[first:last]):
            count = len(list(run))
            texts, rows = slice(text, text + count), slice(row, row + count * length)
            block = logits[rows].view(count, length, size)
            if length and where is not None:
                highest[texts], position = block.max(dim=1)
                starts = torch.arange(token + row, token + rows.stop, length, device=position.device)
                where[texts] = (position + starts.unsqueeze(1)).int()
            elif length:
                torch.amax(block, dim=1, out=highest[texts])
            text, row = texts.stop, rows.stop
        token += row
    return highest, where


def padded(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, lengths: list[int], recorded: bool) -> Highest:
    """Return the highest logits, with one maximum per chunk, whose texts are padded with copies of their last token."""
    size, device = len(weight_VH), hidden_NH.device
    highest, where = _new(hidden_NH, len(lengths), size, recorded)
    if not len(hidden_NH):
        return highest, where
    tokens = np.asarray(lengths)
    ends = np.maximum(tokens - 1, 0)[:, None]  # place of a text's last token
    starts = np.minimum(np.cumsum(tokens) - tokens, len(hidden_NH) - 1)[:, None]  # a text without tokens gets any
    chunks = list(_padded_chunks(lengths, CHUNK_ELEMENTS[device.type] // size))
    rows = [(starts[a:b] + np.minimum(np.arange(longest), ends[a:b])).ravel() for a, b, longest in chunks]
    padded_NH, row = hidden_NH.index_select(0, to_device(np.concatenate(rows), device)), 0
    for first, last, longest in chunks:
        chunk = padded_NH[row : row + (last - first) * longest]
        row += len(chunk)
        block = torch.nn.functional.linear(chunk, weight_VH, bias_V).view(last - first, longest, size)
        if longest and where is not None:
            highest[first:last], where[first:last] = block.max(dim=1)
        elif longest:
            torch.amax(block, dim=1, out=highest[first:last])
    if where is not None:
        places = to_device(np.stack([ends, starts]).astype(np.int32), device)
        where.clamp_(max=places[0]).add_(places[1])  # a copy of the last token is the last token
    if not tokens.all():
        highest.index_fill_(0, to_device(np.flatnonzero(tokens == 0), device), torch.finfo(highest.dtype).min)
    return highest, where


# How the highest logits are computed, by the type of the device.
HIGHEST: dict[str, Callable[[Tensor, Tensor, Tensor | None, list[int], bool], Highest]] = {
    "cpu": by_length,
    "cuda": padded,
}


class _MaxPooledLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, lengths: list[int]) -> Tensor:
        # In half precision a second computation may order logits differently, and equal ones are common.
        recorded = any(ctx.needs_input_grad) and (hidden_NH.is_cuda or hidden_NH.element_size() == 2)
        highest, where = HIGHEST[hidden_NH.device.type](hidden_NH, weight_VH, bias_V, lengths, recorded)
        ctx.save_for_backward(hidden_NH, weight_VH, where)
        ctx.has_bias, ctx.lengths = bias_V is not None, lengths
        return highest

    @staticmethod
    def backward(ctx: Any, grad_BV: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, where = ctx.saved_tensors
        # One row gathers hundreds of entries; in half precision a sum would stop growing (CUDA adds in the sum's type).
        wide = torch.promote_types(hidden_NH.dtype, torch.float32)
        grad_hidden = torch.zeros_like(hidden_NH, dtype=wide)
        grad_weight = torch.zeros_like(weight_VH, dtype=wide)
        texts, terms = grad_BV.nonzero(as_tuple=True)
        rows = where[texts, terms] if where is not None else _places(hidden_NH, weight_VH, ctx.lengths, texts, terms)
        for start in range(0, len(texts) if len(hidden_NH) else 0, CHUNK_ENTRIES):
            text, term = texts[start : start + CHUNK_ENTRIES], terms[start : start + CHUNK_ENTRIES]
            grad_K1 = grad_BV[text, term].unsqueeze(-1).to(wide)
            row = rows[start : start + CHUNK_ENTRIES]
            grad_hidden.index_add_(0, row, grad_K1 * weight_VH[term])
            grad_weight.index_add_(0, term, grad_K1 * hidden_NH[row])
        grad_bias = grad_BV.sum(dim=0) if ctx.has_bias else None
        return grad_hidden.to(hidden_NH.dtype), grad_weight.to(weight_VH.dtype), grad_bias, None


def max_pooled_logits(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, lengths: list[int]) -> Tensor:
    """Return the maximum over each text's tokens of hidden @ weight.T + bias, (B, V).

    Args:
        hidden_NH: one row per token, the texts one after another.
        lengths: tokens of each text. One without tokens gets the lowest float, and must get no gradient.

    This is the maximum in `term_weights`; where two positions tie, the gradient goes to one of them.
    """
    if torch.is_autocast_enabled(hidden_NH.device.type):
        dtype = torch.get_autocast_dtype(hidden_NH.device.type)
        hidden_NH, weight_VH = hidden_NH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    return cast(Tensor, _MaxPooledLogits.apply(hidden_NH.contiguous(), weight_VH, bias_V, lengths))  # type: ignore[no-untyped-call]
