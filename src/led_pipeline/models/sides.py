"""Sides: a retriever that represents queries in another way than passages, by another encoder or fewer weights.

A retriever whose two sides are one is the encoder itself; `side` and `both` work with either.

# B = texts, D = dimensions of a vector
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from led_pipeline.models.backbone import Texts


@dataclass(frozen=True)
class Pruning:
    """Which weights of a text are kept: those above a share of its highest one, and of these the highest `top_k`."""

    top_k: int | None = None
    ratio: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.top_k or self.ratio)

    def __call__(self, weights_BD: Tensor) -> Tensor:
        """Return the weights with zeros in place of those that are not kept; of equal ones any may be kept.

        Source: top-k as in SPLADE's trainer; the ratio as in OpenSearch's sparse models.
        """
        if self.ratio:
            weights_BD = weights_BD * (weights_BD > self.ratio * weights_BD.amax(dim=1, keepdim=True))
        if self.top_k and self.top_k < weights_BD.shape[1]:
            highest, terms = weights_BD.topk(self.top_k, dim=1)
            weights_BD = torch.zeros_like(weights_BD).scatter(1, terms, highest)
        return weights_BD


class Sides(nn.Module):
    """A passage encoder, a query encoder (None: the same one), and what is pruned on each side."""

    def __init__(
        self,
        passage: nn.Module,
        query: nn.Module | None = None,
        pruning: tuple[Pruning, Pruning] = (Pruning(), Pruning()),
    ):
        super().__init__()
        self.passage, self.query = passage, query
        self.prune_query, self.prune_passage = pruning

    def encode(self, texts: Texts, side: str) -> Tensor:
        """Return the vectors of texts that are all of one side, "query" or "passage"."""
        if side == "passage":
            return self.prune_passage(self.passage(texts))
        return self.prune_query((self.query or self.passage)(texts))

    def both(self, texts: Texts, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the vectors of a batch of queries and then passages, split into `counts`, the queries' first."""
        if self.query is None:
            queries, *passages = self.passage(texts).split(counts)
            return self.prune_query(queries), *map(self.prune_passage, passages)
        passages = self.encode(texts.given(counts[0], len(texts)), "passage")
        return self.encode(texts.given(0, counts[0]), "query"), *passages.split(counts[1:])


class _OneSide(nn.Module):
    def __init__(self, sides: Sides, name: str):
        super().__init__()
        self.sides, self.name = sides, name

    @property
    def size(self) -> int:
        return self.sides.passage.size

    def forward(self, texts: Texts) -> Tensor:
        return self.sides.encode(texts, self.name)


def side(model: nn.Module, name: str) -> nn.Module:
    """Return what encodes the texts of one side, "query" or "passage", of any retriever."""
    return _OneSide(model, name) if isinstance(model, Sides) else model


def both(model: nn.Module, texts: Texts, counts: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the vectors of queries and passages in one batch, split into `counts`, of any retriever."""
    return model.both(texts, counts) if isinstance(model, Sides) else model(texts).split(counts)


def encoders(model: nn.Module) -> list[nn.Module]:
    """Return the parts of a model that have a backbone: the model itself, or a retriever's two sides."""
    parts = [model.passage, model.query] if isinstance(model, Sides) else [model]
    return [part for part in parts if hasattr(part, "backbone")]


def each(model: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a model with every part that has a backbone changed; the parts themselves stay."""
    if not isinstance(model, Sides):
        return change(model)
    query = change(model.query) if model.query in encoders(model) else model.query
    return Sides(change(model.passage), query, (model.prune_query, model.prune_passage))
