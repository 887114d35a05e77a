"""Backbone: a Hugging Face encoder that reads a packed batch, all texts as one sequence of tokens without padding.

All layers but attention work on single tokens and take the tokens of all texts at once. Attention stays within texts:
on a GPU of Ampere or newer in half precision by FlashAttention's kernel for sequences of different lengths, which comes
with torch; elsewhere by one call per length of text, for which texts are sorted by length. `padded_hidden_states` pads
to the longest text instead: it is the reference of the tests, and reads the types of models that are not in
FIRST_POSITION.

# B = texts, T = token positions, N = tokens of all texts, H = hidden size
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from led_pipeline.data.ragged import places
from led_pipeline.data.tokens import Batch
from led_pipeline.jobs.gpus import BF16_CAPABILITY

ATTENTION = "within_texts"
FLASH_HEAD = 256  # the largest size of a head that FlashAttention's kernel takes
# Number of a text's first position by type of model; RoBERTa counts from the id of its padding.
FIRST_POSITION = {"bert": 0, "distilbert": 0, "electra": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}
# Encoders and decoders with rotary positions; Ettin's and GTE's models of today are of the type ModernBERT.
FIRST_POSITION |= dict.fromkeys(("modernbert", "modernbert-decoder", "nomic_bert", "eurobert"), 0)
FIRST_POSITION |= dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), 0)
Projected = tuple[Tensor, Tensor, Tensor]  # query, key and value


@dataclass(frozen=True)
class PackedBatch:
    """A packed batch on a device: texts as one sequence of tokens, sorted by length; `restore` undoes the sorting."""

    ids_N: Tensor
    """Token ids."""
    positions_N: Tensor
    """Position of each token within its text, from 0."""
    types_N: Tensor | None
    """Token types; None: all 0."""
    cu_seqlens: Tensor
    """Offsets of the texts and the end (B + 1,), int32."""
    rank_B: Tensor | None
    """Place of each text of the original order; None if the texts were sorted already."""
    lengths: NDArray[np.int64]
    """Tokens of each text, descending, in host memory."""
    longest: int
    """Tokens of the longest text."""
    order: NDArray[np.int64] | None = None
    """Original number of the text at each place, in host memory; None if the texts were sorted already."""

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Number of texts and their length, for each length."""
        first = np.flatnonzero(np.diff(self.lengths, prepend=-1))
        return list(zip(np.diff(first, append=len(self.lengths)).tolist(), self.lengths[first].tolist(), strict=True))

    def restore(self, rows: Tensor) -> Tensor:
        """Return one row per text in the original order of the texts."""
        return rows if self.rank_B is None else rows.index_select(0, self.rank_B)

    def between(self, start: int, stop: int) -> "PackedBatch":
        """Return the texts with the original numbers from `start` to, but not including, `stop` as a batch."""
        order = np.arange(len(self)) if self.order is None else self.order
        selected = np.flatnonzero((order >= start) & (order < stop))
        lengths, device = self.lengths[selected], self.ids_N.device
        tokens = to_device(places((np.cumsum(self.lengths) - self.lengths)[selected], lengths), device)
        numbers = order[selected] - start
        sorted_already = bool((np.diff(numbers) > 0).all())
        return PackedBatch(
            ids_N=self.ids_N[tokens],
            positions_N=self.positions_N[tokens],
            types_N=None if self.types_N is None else self.types_N[tokens],
            cu_seqlens=to_device(np.append(0, np.cumsum(lengths)).astype(np.int32), device),
            rank_B=None if sorted_already else to_device(np.argsort(numbers), device),
            lengths=lengths,
            longest=int(lengths[0]),
            order=None if sorted_already else numbers,
        )

    def parts(self, size: int) -> Iterator["PackedBatch"]:
        """Cut the batch, as it is sorted, into parts of at most `size` texts."""
        for first in range(0, len(self), size):
            lengths = self.lengths[first : first + size]
            start = int(self.lengths[:first].sum())
            tokens = slice(start, start + int(lengths.sum()))
            yield PackedBatch(
                ids_N=self.ids_N[tokens],
                positions_N=self.positions_N[tokens],
                types_N=None if self.types_N is None else self.types_N[tokens],
                cu_seqlens=self.cu_seqlens[first : first + size + 1] - start,
                rank_B=None,
                lengths=lengths,
                longest=int(lengths[0]),
            )


def to_device(values: NDArray | Tensor, device: torch.device) -> Tensor:
    """Copy values from host memory to a device; to a GPU from pinned memory and without waiting."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_packed_batch(batch: Batch, device: torch.device) -> PackedBatch:
    """Copy a batch to a device, sorted by length, longest text first."""
    ids, types, lengths, order, rank = batch.ids, batch.types, batch.lengths, None, None
    if (np.diff(lengths) > 0).any():
        order = np.argsort(-lengths, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        source = places(batch.starts[order], lengths[order])
        ids, types, lengths = ids[source], None if types is None else types[source], lengths[order]
    starts = np.cumsum(lengths) - lengths
    return PackedBatch(
        ids_N=to_device(ids, device),
        positions_N=to_device(np.arange(len(ids)) - np.repeat(starts, lengths), device),
        types_N=None if types is None else to_device(types, device),
        cu_seqlens=to_device(np.append(starts, len(ids)).astype(np.int32), device),
        rank_B=None if rank is None else to_device(rank, device),
        lengths=lengths,
        longest=int(lengths[0]),
        order=order,
    )


def at_least_float32(values: Tensor) -> Tensor:
    """Return values of half precision in float32, all others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_float32(module: nn.Module) -> None:
    """Make a module compute in float32, under autocast too, whatever the type of its inputs.

    It replaces `forward` in place: a wrapper would change the names of the weights that the model saves.
    """
    forward = module.forward

    def wide(*arguments: Any, **options: Any) -> Any:
        values = [at_least_float32(a) if torch.is_tensor(a) and a.is_floating_point() else a for a in arguments]
        device = next((a.device.type for a in values if torch.is_tensor(a)), "cpu")
        with torch.autocast(device, enabled=False):
            return forward(*values, **options)

    module.forward = wide


def use_attention_within_texts(backbone: PreTrainedModel) -> None:
    """Make a backbone compute attention by `attend`; a call with a mask instead of texts works as before."""
    if backbone.config.model_type in FIRST_POSITION:
        backbone.set_attn_implementation(ATTENTION)


def hidden_states(backbone: PreTrainedModel, texts: PackedBatch) -> Tensor:
    """Return a backbone's first output, one row per token (N, H), in the order of the tokens of `texts`."""
    first = FIRST_POSITION.get(backbone.config.model_type)
    if first is None:
        return padded_hidden_states(backbone, texts)
    positions_N = texts.positions_N if first == 0 else texts.positions_N + first + backbone.config.pad_token_id
    types = {} if texts.types_N is None else {"token_type_ids": texts.types_N.unsqueeze(0)}
    # transformers takes a mask with four dimensions as it is, where it would make one of all pairs of tokens.
    output = backbone(
        input_ids=texts.ids_N.unsqueeze(0),
        position_ids=positions_N.unsqueeze(0),
        attention_mask=texts.ids_N.new_zeros(1, 1, 1, 1),
        texts=texts,
        use_cache=False,
        **types,
    )
    return output[0].squeeze(0)


def padded_hidden_states(backbone: PreTrainedModel, texts: PackedBatch) -> Tensor:
    """Return the result of `hidden_states`, computed from a matrix that is padded to the longest text."""
    inputs, mask_BT = padded(backbone, texts)
    return backbone(**inputs)[0][mask_BT.bool()]


def start_token(backbone: PreTrainedModel) -> int:
    """Return the id of a decoder's first input token: the one of its configuration or, as in T5, the padding's."""
    for config in (backbone.config, getattr(backbone, "generation_config", None)):
        token: int | None = getattr(config, "decoder_start_token_id", None)
        if token is not None:
            return token
    return int(backbone.config.pad_token_id)


def padded(backbone: PreTrainedModel, texts: PackedBatch) -> tuple[dict[str, Tensor], Tensor]:
    """Return the arguments of a Hugging Face model for some texts, all (B, T), and their attention mask."""
    lengths = texts.cu_seqlens.diff()
    mask_BT = torch.arange(texts.longest, device=lengths.device) < lengths.unsqueeze(1)
    ids_BT = torch.full(mask_BT.shape, backbone.config.pad_token_id or 0, device=mask_BT.device)
    ids_BT[mask_BT] = texts.ids_N
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT.long()}
    if texts.types_N is not None:
        inputs["token_type_ids"] = torch.zeros_like(ids_BT)
        inputs["token_type_ids"][mask_BT] = texts.types_N
    return inputs, inputs["attention_mask"]


def has_flash_kernel(query: Tensor) -> bool:
    """Return whether FlashAttention's kernel computes some queries: on their device, in their type, for their heads."""
    head, half = query.shape[-1], query.dtype in (torch.float16, torch.bfloat16)
    return query.is_cuda and half and head % 8 == 0 and head <= FLASH_HEAD and _is_ampere(query.device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_ampere(device: torch.device) -> bool:
    return _capability(device) >= BF16_CAPABILITY


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    texts: PackedBatch | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Compute self-attention within each text; query, key and value are (1, heads, N, size of a head).

    Keys and values may have fewer heads. Registered with transformers as the attention ATTENTION; without `texts` it is
    transformers' own padded one.
    """
    if texts is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    causal = bool(getattr(module, "is_causal", False)) and getattr(getattr(module, "config", None), "is_causal", True)
    reach = -1 if options.get("sliding_window") is None else options["sliding_window"] - 1
    compute = _attend_by_kernel if has_flash_kernel(query) else _attend_by_length
    return compute((query, key, value), texts, dropout, scaling, causal, reach).unsqueeze(0), None


def _attend_by_kernel(
    projected: Projected, texts: PackedBatch, dropout: float, scaling: float | None, causal: bool, reach: int
) -> Tensor:
    """Return the result of `_attend_by_length`, by FlashAttention's kernel for sequences of different lengths."""
    # torch.nn.attention.varlen_attn calls the same kernel, but has no dropout.
    output: Tensor = torch.ops.aten._flash_attention_forward(
        *projected, texts.cu_seqlens, texts.cu_seqlens, texts.longest, texts.longest, dropout, causal, False,
        scale=scaling, window_size_left=reach, window_size_right=0 if causal else reach,
    )[0]  # fmt: skip
    return output


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attend_by_length(
    projected: Projected, texts: PackedBatch, dropout: float, scaling: float | None, causal: bool, reach: int
) -> Tensor:
    """Return the attention of texts (N, heads, size of a head), with one call per length of text.

    Args:
        reach: how many tokens away a token sees others; -1 without a limit.
    """
    runs = texts.runs
    tokens = [count * length for count, length in runs]
    few = projected[1].shape[1] < projected[0].shape[1]
    outputs = []
    for (count, length), *parts in zip(runs, *(each.split(tokens) for each in projected), strict=True):
        one, two, three = (part.reshape(count, length, *part.shape[1:]).transpose(1, 2) for part in parts)
        mask = _window(length, causal, reach, one.device) if 0 <= reach < length - 1 else None
        output = F.scaled_dot_product_attention(
            one, two, three, mask, dropout, causal and mask is None, scale=scaling, enable_gqa=few
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _window(length: int, causal: bool, reach: int, device: torch.device) -> Tensor:
    """Return which tokens of a text see which others (length, length), where none sees farther than `reach`."""
    places_T = torch.arange(length, device=device)
    distance = places_T.unsqueeze(1) - places_T
    return (distance <= reach) & ((distance >= 0) if causal else (distance >= -reach))


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
