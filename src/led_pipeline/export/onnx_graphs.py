"""Encoders as graphs for ONNX: the padded forms of our packed ones, from token ids to vectors, weights or scores.

# B = texts, T = token positions, H = hidden size, V = vocabulary entries
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from led_pipeline.files.errors import InputError
from led_pipeline.models.bi_encoder import BiEncoder, Pruning
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.idf import BagOfWords
from led_pipeline.models.lexicon import LexiconEncoder, activate
from led_pipeline.models.ranker import Ranker
from led_pipeline.recipe.representation import Side


class DenseGraph(nn.Module):
    """Pooling, head and normalisation included; token types are 0, as in training."""

    def __init__(self, encoder: DenseEncoder):
        super().__init__()
        self.backbone, self.head = encoder.backbone, encoder.head
        self.pooling, self.normalize = encoder.pooling, encoder.normalize

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the vectors (B, H)."""
        hidden_BTH = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask_BT1 = attention_mask.unsqueeze(-1).to(hidden_BTH.dtype)
        if self.pooling == "mean":
            vectors = (hidden_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
        elif self.pooling == "cls":
            vectors = hidden_BTH[:, 0]
        else:
            positions_T = torch.arange(input_ids.shape[1], device=input_ids.device)
            last_BT = positions_T == attention_mask.sum(dim=1, keepdim=True) - 1
            vectors = (hidden_BTH * last_BT.unsqueeze(-1).to(hidden_BTH.dtype)).sum(dim=1)
        if self.head is not None:
            vectors = self.head(vectors)
        return F.normalize(vectors, dim=1) if self.normalize else vectors


class LexiconGraph(nn.Module):
    """Max-pooled and activated logits of a masked language model, pruned as one side's texts are."""

    def __init__(self, encoder: LexiconEncoder, pruning: Pruning):
        super().__init__()
        self.backbone, self.pruning = encoder.backbone, pruning
        self.activation, self.keep_special_tokens = encoder.activation, encoder.keep_special_tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the weights (B, V)."""
        logits_BTV = self.backbone(input_ids=input_ids, attention_mask=attention_mask).logits
        counts_BT = attention_mask.bool()
        if not self.keep_special_tokens:
            positions_T = torch.arange(input_ids.shape[1], device=input_ids.device)
            last_B1 = attention_mask.sum(dim=1, keepdim=True) - 1
            counts_BT = counts_BT & (positions_T > 0) & (positions_T != last_B1)
        lowest = torch.finfo(logits_BTV.dtype).min
        highest_BV = logits_BTV.masked_fill(~counts_BT.unsqueeze(-1), lowest).amax(dim=1)
        return self.pruning(activate(highest_BV, self.activation))


class BagOfWordsGraph(nn.Module):
    """Queries without inference: the weights of the tokens that a query has."""

    def __init__(self, encoder: BagOfWords, pruning: Pruning):
        super().__init__()
        self.pruning = pruning
        self.weights_V: Tensor
        self.register_buffer("weights_V", encoder.final_V.detach().clone())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the weights (B, V)."""
        empty_BV = torch.zeros(input_ids.shape[0], self.weights_V.shape[0], device=input_ids.device)
        present_BV = empty_BV.scatter_reduce(1, input_ids, attention_mask.to(empty_BV.dtype), "amax")
        return self.pruning(present_BV * self.weights_V)


class RankerGraph(nn.Module):
    """One logit per pair, of models without token types."""

    def __init__(self, encoder: Ranker):
        super().__init__()
        self.backbone = encoder.backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the scores (B,)."""
        logits: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits.squeeze(-1)


class TypedRankerGraph(RankerGraph):
    """One logit per pair; token types are 0 in the query and 1 in the passage."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:  # type: ignore[override]
        """Return the scores (B,)."""
        types = {"token_type_ids": token_type_ids}
        logits: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        return logits.squeeze(-1)


@dataclass(frozen=True)
class Graph:
    """One ONNX file: what it computes, and for texts of which sides."""

    name: str
    module: nn.Module
    sides: tuple[Side, ...]
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        types = ("token_type_ids",) if isinstance(self.module, TypedRankerGraph) else ()
        return ("input_ids", "attention_mask", *types)


def graphs(model: nn.Module, system: str) -> list[Graph]:
    """Return the graphs of a loaded model: one, or one per side where queries are read in another way.

    Raises:
        InputError: the model has code of the user, or a decoder.
    """
    if isinstance(model, Ranker):
        kind = TypedRankerGraph if model.has_types else RankerGraph
        return [Graph("model", kind(model), ("query", "passage"), "scores")]
    if not isinstance(model, BiEncoder):
        return [_graph("model", model, Pruning(), ("query", "passage"), system)]
    query = model.query or model.passage
    if query is model.passage and model.prune_query == model.prune_passage:
        return [_graph("model", query, model.prune_query, ("query", "passage"), system)]
    return [
        _graph("query", query, model.prune_query, ("query",), system),
        _graph("passage", model.passage, model.prune_passage, ("passage",), system),
    ]


def _graph(name: str, encoder: nn.Module, pruning: Pruning, sides: tuple[Side, ...], system: str) -> Graph:
    if isinstance(encoder, DenseEncoder) and isinstance(encoder.pooling, str):
        config = encoder.backbone.config
        if not (config.is_encoder_decoder and hasattr(encoder.backbone, "decoder")):
            return Graph(name, DenseGraph(encoder), sides, "vectors")
        reason = "it takes the vector of its first decoder token"
    elif isinstance(encoder, LexiconEncoder):
        return Graph(name, LexiconGraph(encoder, pruning), sides, "weights")
    elif isinstance(encoder, BagOfWords):
        return Graph(name, BagOfWordsGraph(encoder, pruning), sides, "weights")
    else:
        reason = "it has code of your own, or asks a decoder"
    raise InputError(f"--formats: {system} cannot become ONNX, because {reason}; use its folder under models/ instead")


def without_packing(graph: Graph) -> None:
    """Make the model of a graph compute as transformers wrote it, on padded texts; its packed form is gone then."""
    for module in graph.module.modules():
        vars(module).pop("forward", None)  # see models.backbone.in_float32 and models.lexicon
    backbone = getattr(graph.module, "backbone", None)
    if backbone is not None:
        cast(nn.Module, backbone).set_attn_implementation("eager")  # type: ignore[operator]
