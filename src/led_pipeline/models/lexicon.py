"""LEX: one non-negative weight per vocabulary entry (SPLADE-max), the score a dot product.

# B = texts, T = token positions, N = tokens of all texts, H = hidden size, V = vocabulary entries
"""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from led_pipeline.data.ragged import places
from led_pipeline.models.backbone import (
    PackedBatch,
    at_least_float32,
    hidden_states,
    to_device,
    use_attention_within_texts,
)
from led_pipeline.models.encoder import Encoder
from led_pipeline.models.pooled_logits import max_pooled_logits

# From padded logits to weights: the reference that the encoder below must equal.


def counting_positions(mask_BT: Tensor, keep_special_tokens: bool = False) -> Tensor:
    """Return True where a position may contribute a weight.

    Padding never does. Unless special tokens are kept, neither do a text's first position ([CLS]) and its last one (the
    final [SEP]); the [SEP] between title and passage does, as in LED.
    """
    counts = mask_BT.bool()
    if not keep_special_tokens:
        counts = counts.clone()
        counts[:, 0] = False
        counts[torch.arange(len(counts), device=counts.device), mask_BT.sum(dim=1) - 1] = False
    return counts


def activate(highest: Tensor, activation: str = "log1p") -> Tensor:
    """Return the weights of highest logits: log(1 + relu(logit)); `log1p_twice` applies log(1 + x) to it once more.

    Source: SPLADE (arXiv:2107.05720); OpenSearch's sparser models (arXiv:2504.14839) for the second logarithm.
    """
    weights = highest.relu().log1p()
    return weights.log1p() if activation == "log1p_twice" else weights


def term_weights(logits_BTV: Tensor, counts_BT: Tensor, activation: str = "log1p") -> Tensor:
    """Pool masked-LM logits into one weight per vocabulary entry: `activate` of the maximum over positions.

    The maximum is taken first: log1p and relu are monotone, so the result is the same.

    Raises:
        ValueError: the mask does not cover exactly the positions of the logits.

    Source: SPLADE v2 (arXiv:2109.10086), max pooling.
    """
    if counts_BT.shape != logits_BTV.shape[:2]:
        raise ValueError(f"mask {tuple(counts_BT.shape)} does not fit logits {tuple(logits_BTV.shape)}")
    lowest = torch.finfo(logits_BTV.dtype).min
    highest = logits_BTV.masked_fill(~counts_BT.bool().unsqueeze(-1), lowest).amax(dim=1)
    return activate(highest.float(), activation)


class LexiconEncoder(Encoder):
    """A masked language model whose max-pooled logits represent queries and passages.

    The result equals `term_weights` of the model's logits. To avoid holding the logits, the model returns the input of
    its output embeddings, and `max_pooled_logits` multiplies with them.
    """

    def __init__(self, backbone: PreTrainedModel, *, keep_special_tokens: bool = False, activation: str = "log1p"):
        super().__init__()
        self.backbone = backbone
        self.activation = activation
        self.keep_special_tokens = keep_special_tokens
        backbone.get_output_embeddings().forward = lambda hidden: hidden  # the module stays, for its weights
        use_attention_within_texts(backbone)

    def forward(self, texts: PackedBatch) -> Tensor:
        """Return the weights (B, V) in float32; a text of special tokens alone gives a row of zeros."""
        hidden_NH = hidden_states(self.backbone, texts)
        head, lengths = self.backbone.get_output_embeddings(), texts.lengths
        if not self.keep_special_tokens:
            starts = np.cumsum(lengths) - lengths
            lengths = lengths - 2
            hidden_NH = hidden_NH.index_select(0, to_device(places(starts + 1, lengths), hidden_NH.device))
        highest = max_pooled_logits(hidden_NH, head.weight, head.bias, lengths.tolist())
        return texts.restore(activate(at_least_float32(highest), self.activation))
