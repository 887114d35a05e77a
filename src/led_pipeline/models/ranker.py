"""Ranker: a cross-encoder that reads query and passage together and returns one score.

# P = query-passage pairs, N = tokens of all pairs, H = hidden size
"""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from led_pipeline.models.backbone import PackedBatch, hidden_states, in_float32, padded, use_attention_within_texts
from led_pipeline.models.encoder import Encoder


class Ranker(Encoder):
    """A sequence classifier with one logit over `[CLS] query [SEP] title [SEP] passage [SEP]`.

    Its head (all layers behind the body, and a pooler) computes in float32 under autocast, too: scores of half
    precision have few values, passages would tie, and ties keep the order of the ranking before.
    """

    def __init__(self, backbone: PreTrainedModel):
        super().__init__()
        self.backbone = backbone
        for name, part in backbone.named_children():
            if name != backbone.base_model_prefix:
                in_float32(part)
        pooler = getattr(backbone.base_model, "pooler", None)
        if pooler is not None:
            in_float32(pooler)
        self.has_types = getattr(backbone.config, "type_vocab_size", 0) > 1
        use_attention_within_texts(backbone)

    def forward(self, texts: PackedBatch) -> Tensor:
        """Return one float32 logit per pair (P,); token types are 0 in the query part and 1 in the passage part."""
        if not self.has_types:
            texts = replace(texts, types_N=None)
        return texts.restore(self._logits(texts).float().squeeze(-1))

    def _logits(self, texts: PackedBatch) -> Tensor:
        """Return the classifier's output; it reads a pair's first position, and gets nothing else."""
        model = self.backbone
        head = {"bert": _bert_head, "distilbert": _distilbert_head}.get(model.config.model_type)
        if head is None:
            return model(**padded(model, texts)[0]).logits
        hidden_NH = hidden_states(cast(PreTrainedModel, model.base_model), texts)
        return head(model, hidden_NH.index_select(0, texts.cu_seqlens[:-1].long()))


def _bert_head(model: Any, first_PH: Tensor) -> Tensor:
    return model.classifier(model.dropout(model.bert.pooler(first_PH.unsqueeze(1))))


def _distilbert_head(model: Any, first_PH: Tensor) -> Tensor:
    return model.classifier(model.dropout(torch.relu(model.pre_classifier(first_PH))))
