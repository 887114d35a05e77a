"""The loss of a masked language model: masked tokens, and each passage's words from its [CLS] vector.

The mean cross-entropy of the predicted tokens of the global batch, plus a weight times the mean over its passages of

    - sum over v in V(x) of 1 / |V(x)| log softmax(MLM head([CLS]))_v

where V(x) has the distinct word pieces of a passage without stop words and special tokens; a passage without such
words counts 0. The weight falls from `bow_weight` along half a cosine.

Source: bag-of-words prediction (arXiv:2401.11248). Its published code also lets the weight rise during the warm-up of
the learning rate, masks whole words, and leaves out of bags only the ids below 999 of BERT's English vocabulary, which
are special or unused tokens.

# B = passages of this process, M = predicted tokens, R = tokens with logits, K = words of all bags
# V = vocabulary entries
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from led_pipeline.data.masking import MaskedBatch
from led_pipeline.models.backbone import PackedBatch, to_device, to_packed_batch
from led_pipeline.models.masked_lm import MaskedLm
from led_pipeline.recipe.settings import Masking
from led_pipeline.training.step_loss import StepLoss


@dataclass(frozen=True)
class Part:
    """Some passages of a batch on a device, with what is to be predicted of them."""

    texts: PackedBatch
    places_R: Tensor
    """Tokens with logits: the predicted ones, and then each passage's [CLS] where its words are predicted."""
    tokens_M: Tensor
    text_K: Tensor
    word_K: Tensor
    share_K: Tensor
    """1 / number of words of the bag that a word is in."""
    worded_B: Tensor
    """1 for passages whose bag has a word, 0 for others."""

    @classmethod
    def of(cls, batch: MaskedBatch, with_words: bool, device: torch.device) -> "Part":
        """Copy passages, sorted by length, to a device."""
        starts, counts = batch.texts.starts, np.bincount(batch.text_K, minlength=len(batch.texts))
        places = np.concatenate([batch.places_M, starts]) if with_words else batch.places_M
        shares = (1 / np.maximum(counts, 1))[batch.text_K].astype(np.float32)
        arrays = (places, batch.tokens_M, batch.text_K, batch.word_K, shares, (counts > 0).astype(np.float32))
        return cls(to_packed_batch(batch.texts, device), *(to_device(array, device) for array in arrays))


class Predictor(nn.Module):
    """Predicts tokens and words of passages, one part after another; returns the sums of both losses (2,).

    With `recompute`, memory holds the activations of one part, which are computed again when their gradient is due.
    """

    def __init__(self, encoder: MaskedLm, recompute: bool):
        super().__init__()
        self.encoder, self.recompute = encoder, recompute

    def forward(self, parts: Sequence[Part]) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return torch.stack([self.sums(part) for part in parts]).sum(dim=0)
        return torch.stack([checkpoint(self.sums, part, use_reentrant=False) for part in parts]).sum(dim=0)

    def sums(self, part: Part) -> Tensor:
        """Return the sums over predicted tokens, and over passages, of their losses."""
        logits_RV = self.encoder(part.texts, part.places_R)
        masked_MV, cls_BV = logits_RV.split([len(part.tokens_M), len(logits_RV) - len(part.tokens_M)])
        tokens = F.cross_entropy(masked_MV, part.tokens_M, reduction="sum")
        if not len(cls_BV):
            return torch.stack([tokens, torch.zeros_like(tokens)])
        # The weights of a bag add up to 1, so its mean log softmax is the mean logit minus one logarithm.
        logits = (part.share_K * cls_BV[part.text_K, part.word_K]).sum()
        return torch.stack([tokens, (part.worded_B * cls_BV.logsumexp(dim=1)).sum() - logits])


def trainable(encoder: MaskedLm, recompute: bool, layers: bool) -> Predictor:
    """Return the module that is trained in place of an encoder.

    Args:
        recompute: compute the activations of each part again (gradient_cache).
        layers: compute those of each layer again (gradient_checkpointing).
    """
    if layers:
        encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    return Predictor(encoder, recompute)


def bow_weight(settings: Masking, step: int, steps: int) -> float:
    """Return the weight of the words at a step (from 0) of a training."""
    fallen = (1 - math.cos(math.pi * step / max(1, steps - 1))) / 2
    return settings.bow_weight * (1 - (1 - settings.bow_weight_end) * fallen)


def masked_loss(model: nn.Module, parts: Sequence[Part], size: int, weight: float) -> StepLoss:
    """Return the loss of the global batch, with gradient for this process's passages only.

    Args:
        model: a `Predictor`, prepared for training or not.
        parts: the passages of this process.
        size: passages of the global batch.
        weight: of the words; 0 leaves them out.
    """
    sums = model(parts)
    count = sum(len(part.tokens_M) for part in parts)
    everywhere = torch.cat([sums.detach(), sums.new_tensor([count])])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(everywhere)
    tokens, words, predicted = everywhere.unbind()
    local_tokens, local_words = (sums - sums.detach()).unbind()  # 0, with this process's part of the gradient
    loss = StepLoss(total=sums.new_zeros(()), tokens=sum(len(part.texts.ids_N) for part in parts))
    loss.add("mlm", (tokens + local_tokens) / predicted.clamp(min=1))
    if weight:
        loss.add("bow", (words + local_words) / size, weight)
    return loss
