"""BiEncoder: bi-encoders, whose query side may differ from the passage side by its encoder or its pruning.

A retriever without such a difference is the encoder itself; the functions here work with either.

# B = texts, D = dimensions of a vector
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from led_pipeline.models.backbone import PackedBatch
from led_pipeline.models.encoder import Encoder
from led_pipeline.recipe.representation import Side


@dataclass(frozen=True)
class Pruning:
    """Keeps the weights of a text above a share of its highest one, and at most the highest `top_k` of them."""

    top_k: int | None = None
    ratio: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.top_k or self.ratio)

    def __call__(self, weights_BD: Tensor) -> Tensor:
        """Return the weights with zeros in place of the pruned ones; among equal weights any may be pruned.

        Source: top-k as in SPLADE's trainer; the ratio as in OpenSearch's sparse models.
        """
        if self.ratio:
            weights_BD = weights_BD * (weights_BD > self.ratio * weights_BD.amax(dim=1, keepdim=True))
        if self.top_k and self.top_k < weights_BD.shape[1]:
            highest, terms = weights_BD.topk(self.top_k, dim=1)
            weights_BD = torch.zeros_like(weights_BD).scatter(1, terms, highest)
        return weights_BD


def split(vectors_BD: Tensor, counts: Sequence[int]) -> tuple[Tensor, ...]:
    """Return vectors cut into parts of these numbers."""
    return torch.split(vectors_BD, list(counts))


class BiEncoder(nn.Module):
    """A passage encoder, a query encoder (None: the passage encoder), and the pruning of each side."""

    def __init__(
        self,
        passage: nn.Module,
        query: nn.Module | None = None,
        pruning: tuple[Pruning, Pruning] = (Pruning(), Pruning()),
    ):
        super().__init__()
        self.passage, self.query = passage, query
        self.prune_query, self.prune_passage = pruning

    def encode(self, texts: PackedBatch, side: Side) -> Tensor:
        """Return the vectors of texts of one side."""
        if side == "passage":
            return self.prune_passage(self.passage(texts))
        return self.prune_query((self.query or self.passage)(texts))

    def encode_both(self, texts: PackedBatch, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the vectors of a batch of queries and then passages, split by `counts`, queries first."""
        if self.query is None:
            queries, *passages = split(self.passage(texts), counts)
            return self.prune_query(queries), *map(self.prune_passage, passages)
        vectors_ND = self.encode(texts.between(counts[0], len(texts)), "passage")
        return self.encode(texts.between(0, counts[0]), "query"), *split(vectors_ND, counts[1:])


class _OneSide(nn.Module):
    def __init__(self, bi_encoder: BiEncoder, side: Side):
        super().__init__()
        self.bi_encoder, self.side = bi_encoder, side

    @property
    def size(self) -> int:
        return size_of(self.bi_encoder.passage)

    def forward(self, texts: PackedBatch) -> Tensor:
        return self.bi_encoder.encode(texts, self.side)


def size_of(encoder: nn.Module) -> int:
    """Return the number of dimensions of an encoder's vectors."""
    size: object = encoder.size
    assert isinstance(size, int)
    return size


def encoder_of(model: nn.Module, side: Side) -> nn.Module:
    """Return the encoder of the texts of one side of any retriever."""
    return _OneSide(model, side) if isinstance(model, BiEncoder) else model


def encode_both(model: nn.Module, texts: PackedBatch, counts: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the vectors of queries and passages in one batch, split by `counts`, of any retriever."""
    return model.encode_both(texts, counts) if isinstance(model, BiEncoder) else split(model(texts), counts)


def encoders(model: nn.Module) -> list[Encoder]:
    """Return the parts of a model that have a backbone: the model itself, or both sides of a bi-encoder."""
    parts = [model.passage, model.query] if isinstance(model, BiEncoder) else [model]
    return [cast(Encoder, part) for part in parts if hasattr(part, "backbone")]


def wrap_encoders(model: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a model with a wrapper around every part that has a backbone; the parts themselves are shared."""
    if not isinstance(model, BiEncoder):
        return wrap(model)
    query = wrap(model.query) if model.query is not None and hasattr(model.query, "backbone") else model.query
    return BiEncoder(wrap(model.passage), query, (model.prune_query, model.prune_passage))
