"""Backbone: a Hugging Face encoder over texts as one sequence of their tokens, so that nothing is computed for padding.

All layers but attention work on single tokens, so they take the tokens of all texts at once. Attention stays within
texts: on a GPU in half precision by FlashAttention's kernel for sequences of different lengths, which comes with torch;
elsewhere by one call for all texts of one length, for which the texts stand longest first. The plain way, padded to the
longest text, is `padded_hidden_states`: the reference of the tests, and the way of models not in FIRST_POSITION.

# B = texts, T = token positions, N = tokens of all texts, H = hidden size
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from led_pipeline.data.tokens import Batch, places

ATTENTION = "within_texts"
# The number of a text's first position by type of model; RoBERTa begins after the id of its padding.
FIRST_POSITION = {"bert": 0, "distilbert": 0, "electra": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}


@dataclass(frozen=True)
class Texts:
    """Texts on a device as one sequence of tokens, longest text first; `restore` gives back the order they came in."""

    ids_N: Tensor
    positions_N: Tensor  # within each text, from 0
    types_N: Tensor | None  # None: all 0
    bounds: Tensor  # (B + 1,) int32: where each text begins, and the end
    rank_B: Tensor | None  # the place of each given text; None: they came longest first
    lengths: NDArray[np.int64]  # on the host, descending
    longest: int
    order: NDArray[np.int64] | None = None  # on the host: which given text stands at each place; None: as they stand

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """The texts as (how many, of which length)."""
        first = np.flatnonzero(np.diff(self.lengths, prepend=-1))
        return list(zip(np.diff(first, append=len(self.lengths)).tolist(), self.lengths[first].tolist(), strict=True))

    def restore(self, rows: Tensor) -> Tensor:
        """Return rows that belong to the texts in the order in which the texts were given."""
        return rows if self.rank_B is None else rows.index_select(0, self.rank_B)

    def given(self, start: int, stop: int) -> "Texts":
        """Return the texts that came as number `start` up to, not including, `stop`, as texts of their own."""
        order = np.arange(len(self)) if self.order is None else self.order
        kept = np.flatnonzero((order >= start) & (order < stop))
        lengths, device = self.lengths[kept], self.ids_N.device
        tokens = to_device(places((np.cumsum(self.lengths) - self.lengths)[kept], lengths), device)
        own = order[kept] - start
        sorted_already = bool((np.diff(own) > 0).all())
        return Texts(
            ids_N=self.ids_N[tokens],
            positions_N=self.positions_N[tokens],
            types_N=None if self.types_N is None else self.types_N[tokens],
            bounds=to_device(np.append(0, np.cumsum(lengths)).astype(np.int32), device),
            rank_B=None if sorted_already else to_device(np.argsort(own), device),
            lengths=lengths,
            longest=int(lengths[0]),
            order=None if sorted_already else own,
        )

    def parts(self, size: int) -> Iterator["Texts"]:
        """Cut the texts, longest first as they stand, into parts of at most so many."""
        for first in range(0, len(self), size):
            lengths = self.lengths[first : first + size]
            start = int(self.lengths[:first].sum())
            tokens = slice(start, start + int(lengths.sum()))
            yield Texts(
                ids_N=self.ids_N[tokens],
                positions_N=self.positions_N[tokens],
                types_N=None if self.types_N is None else self.types_N[tokens],
                bounds=self.bounds[first : first + size + 1] - start,
                rank_B=None,
                lengths=lengths,
                longest=int(lengths[0]),
            )


def to_device(array: NDArray, device: torch.device) -> Tensor:
    """Copy an array to a device; to a GPU from pinned memory, without waiting."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_texts(batch: Batch, device: torch.device) -> Texts:
    """Copy a batch to a device, longest text first."""
    ids, types, lengths, order, rank = batch.ids, batch.types, batch.lengths, None, None
    if (np.diff(lengths) > 0).any():
        order = np.argsort(-lengths, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        source = places(batch.starts[order], lengths[order])
        ids, types, lengths = ids[source], None if types is None else types[source], lengths[order]
    starts = np.cumsum(lengths) - lengths
    return Texts(
        ids_N=to_device(ids, device),
        positions_N=to_device(np.arange(len(ids)) - np.repeat(starts, lengths), device),
        types_N=None if types is None else to_device(types, device),
        bounds=to_device(np.append(starts, len(ids)).astype(np.int32), device),
        rank_B=None if rank is None else to_device(rank, device),
        lengths=lengths,
        longest=int(lengths[0]),
        order=order,
    )


def at_least_float32(values: Tensor) -> Tensor:
    """Return values of half precision in float32, all others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_float32(module: nn.Module) -> None:
    """Let a module compute in float32 wherever it is called, under autocast too, from whatever it is given."""
    forward = module.forward

    def wide(*arguments: Any, **options: Any) -> Any:
        arguments = [at_least_float32(a) if torch.is_tensor(a) and a.is_floating_point() else a for a in arguments]
        device = next((a.device.type for a in arguments if torch.is_tensor(a)), "cpu")
        with torch.autocast(device, enabled=False):
            return forward(*arguments, **options)

    module.forward = wide


def use_attention_within_texts(backbone: nn.Module) -> None:
    """Let a backbone compute attention by `attend`; called with a mask instead of texts it works as before."""
    if backbone.config.model_type in FIRST_POSITION:
        backbone.set_attn_implementation(ATTENTION)


def hidden_states(backbone: nn.Module, texts: Texts) -> Tensor:
    """Return a backbone's first output, one row per token (N, H), in the order of the tokens of `texts`."""
    first = FIRST_POSITION.get(backbone.config.model_type)
    if first is None:
        return padded_hidden_states(backbone, texts)
    positions_N = texts.positions_N if first == 0 else texts.positions_N + first + backbone.config.pad_token_id
    types = {} if texts.types_N is None else {"token_type_ids": texts.types_N.unsqueeze(0)}
    output = backbone(
        input_ids=texts.ids_N.unsqueeze(0), position_ids=positions_N.unsqueeze(0), texts=texts, use_cache=False, **types
    )
    return output[0].squeeze(0)


def padded_hidden_states(backbone: nn.Module, texts: Texts) -> Tensor:
    """Return what `hidden_states` does, by way of a matrix padded to the longest text."""
    inputs, mask_BT = padded(backbone, texts)
    return backbone(**inputs)[0][mask_BT.bool()]


def start_token(backbone: nn.Module) -> int:
    """Return the id that an encoder-decoder's decoder begins with: the named one, or as in T5 that of the padding."""
    for config in (backbone.config, getattr(backbone, "generation_config", None)):
        if getattr(config, "decoder_start_token_id", None) is not None:
            return config.decoder_start_token_id
    return backbone.config.pad_token_id


def padded(backbone: nn.Module, texts: Texts) -> tuple[dict[str, Tensor], Tensor]:
    """Return a Hugging Face model's arguments for some texts, all (B, T), and the mask that is one of them."""
    lengths = texts.bounds.diff()
    mask_BT = torch.arange(texts.longest, device=lengths.device) < lengths.unsqueeze(1)
    ids_BT = torch.full(mask_BT.shape, backbone.config.pad_token_id or 0, device=mask_BT.device)
    ids_BT[mask_BT] = texts.ids_N
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT.long()}
    if texts.types_N is not None:
        inputs["token_type_ids"] = torch.zeros_like(ids_BT)
        inputs["token_type_ids"][mask_BT] = texts.types_N
    return inputs, inputs["attention_mask"]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    texts: Texts | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Compute self-attention within each text; query, key and value are (1, heads, N, size of a head).

    Registered with transformers as the attention ATTENTION; without `texts` it is transformers' own padded one.
    """
    if texts is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0:
        # torch.nn.attention.varlen_attn calls the same kernel, but has no dropout.
        found = torch.ops.aten._flash_attention_forward(
            query, key, value, texts.bounds, texts.bounds, texts.longest, texts.longest, dropout, False, False,
            scale=scaling,
        )[0]  # fmt: skip
    else:
        found = _attend_by_length(query, key, value, texts.runs, dropout, scaling)
    return found.unsqueeze(0), None


def _attend_by_length(
    query: Tensor, key: Tensor, value: Tensor, runs: list[tuple[int, int]], dropout: float, scaling: float | None
) -> Tensor:
    """Return the attention of texts (N, heads, size of a head), all texts of one length in one call."""
    tokens = [count * length for count, length in runs]
    found = []
    for (count, length), *parts in zip(runs, query.split(tokens), key.split(tokens), value.split(tokens), strict=True):
        run = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)
        output = F.scaled_dot_product_attention(*run, dropout_p=dropout, scale=scaling)
        found.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(found)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
