"""Modules that are trained in place of an encoder or a ranker: one forward pass per step, memory within bounds."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from led_pipeline.models import bi_encoder
from led_pipeline.models.backbone import PackedBatch
from led_pipeline.models.compiled import compile_layers
from led_pipeline.recipe.step_settings import RankerTraining, TrainingSettings


class Retriever(nn.Module):
    """Encodes queries and passages in one forward pass, which synchronisation of gradients requires."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, texts: PackedBatch, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the vectors of the queries and of each pass over the passages; `counts` has their numbers of texts."""
        return bi_encoder.encode_both(self.encoder, texts, counts)


class GradientCache(nn.Module):
    """An encoder that computes `chunk` texts at a time, and again when their gradient is due.

    Memory holds the vectors of all texts and the activations of one chunk, whatever the size of the batch; a step takes
    a second forward pass. The gradient is that of the whole batch.

    Source: gradient cache (arXiv:2101.06983), here by recomputation inside of one backward pass.
    """

    def __init__(self, encoder: nn.Module, chunk: int):
        super().__init__()
        self.encoder, self.chunk = encoder, chunk

    def forward(self, texts: PackedBatch) -> Tensor:
        if not torch.is_grad_enabled():
            return self.encoder(texts)
        parts = texts.parts(self.chunk)
        return texts.restore(torch.cat([checkpoint(self.encoder, part, use_reentrant=False) for part in parts]))


def trainable(encoder: nn.Module, settings: TrainingSettings) -> nn.Module:
    """Return the module that is trained in place of an encoder or a ranker."""
    if settings.gradient_checkpointing:
        for part in bi_encoder.encoders(encoder):
            part.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.compile:
        for part in bi_encoder.encoders(encoder):
            compile_layers(part.backbone)
    if chunk := settings.gradient_cache:
        encoder = bi_encoder.wrap_encoders(encoder, lambda part: GradientCache(part, chunk))
    return encoder if isinstance(settings, RankerTraining) else Retriever(encoder)
