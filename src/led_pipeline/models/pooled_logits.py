"""The highest logit per vocabulary entry, without ever holding the logits of all positions.

A masked-LM head gives a [texts x positions x vocabulary] tensor, of which SPLADE-max keeps one value per text and
entry. Here the product with the output embeddings runs in chunks that keep the maximum and where it was; the gradient
then touches those positions only, and only where it is not zero (after relu: a text's active terms).

# B = texts, T = token positions, H = hidden size, V = vocabulary entries, K = non-zero gradient entries
"""

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**26  # logits held at a time
CHUNK_ENTRIES = 2**17  # gradient entries gathered at a time


class _HighestLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_BTH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, counts_BT: Tensor) -> Tensor:
        texts, positions, _ = hidden_BTH.shape
        highest = hidden_BTH.new_empty(texts, len(weight_VH))
        where = torch.empty(texts, len(weight_VH), dtype=torch.int32, device=hidden_BTH.device)
        lowest = torch.finfo(hidden_BTH.dtype).min
        step = max(1, CHUNK_ELEMENTS // (positions * len(weight_VH)))
        for start in range(0, texts, step):
            rows = slice(start, start + step)
            logits = torch.nn.functional.linear(hidden_BTH[rows], weight_VH, bias_V)
            logits.masked_fill_(~counts_BT[rows].unsqueeze(-1), lowest)
            highest[rows], positions_of = logits.max(dim=1)
            where[rows] = positions_of.int()
        ctx.save_for_backward(hidden_BTH, weight_VH, where)
        ctx.has_bias = bias_V is not None
        return highest

    @staticmethod
    def backward(ctx, grad_BV: Tensor):
        hidden_BTH, weight_VH, where = ctx.saved_tensors
        _, positions, size = hidden_BTH.shape
        # One row gathers hundreds of entries; in half precision a sum would stop growing (CUDA adds in the sum's type).
        wide = torch.promote_types(hidden_BTH.dtype, torch.float32)
        grad_hidden = torch.zeros_like(hidden_BTH, dtype=wide).view(-1, size)
        grad_weight = torch.zeros_like(weight_VH, dtype=wide)
        texts, terms = grad_BV.nonzero(as_tuple=True)
        for start in range(0, len(texts), CHUNK_ENTRIES):
            text, term = texts[start : start + CHUNK_ENTRIES], terms[start : start + CHUNK_ENTRIES]
            grad_K1 = grad_BV[text, term].unsqueeze(-1).to(wide)
            row = text * positions + where[text, term].long()
            grad_hidden.index_add_(0, row, grad_K1 * weight_VH[term])
            grad_weight.index_add_(0, term, grad_K1 * hidden_BTH.view(-1, size)[row])
        grad_hidden = grad_hidden.view_as(hidden_BTH).to(hidden_BTH.dtype)
        return grad_hidden, grad_weight.to(weight_VH.dtype), grad_BV.sum(dim=0) if ctx.has_bias else None, None


def highest_logits(hidden_BTH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, counts_BT: Tensor) -> Tensor:
    """Return max over counting positions of hidden @ weight.T + bias, (B, V); lowest float where no position counts.

    Equals `term_weights`'s maximum over plain logits; where two positions tie, the gradient goes to one of them.
    """
    if torch.is_autocast_enabled(hidden_BTH.device.type):
        dtype = torch.get_autocast_dtype(hidden_BTH.device.type)
        hidden_BTH, weight_VH = hidden_BTH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    return _HighestLogits.apply(hidden_BTH.contiguous(), weight_VH, bias_V, counts_BT.bool())
