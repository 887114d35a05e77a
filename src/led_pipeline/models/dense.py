"""DEN: one vector per text, the score a dot product.

# B = texts, N = tokens of all texts, H = vector size
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from led_pipeline.files.errors import InputError
from led_pipeline.models.backbone import (
    PackedBatch,
    at_least_float32,
    hidden_states,
    padded,
    start_token,
    use_attention_within_texts,
)
from led_pipeline.models.encoder import Encoder

Pooling = Callable[[Tensor, PackedBatch], Tensor]


def pool(hidden_NH: Tensor, texts: PackedBatch, pooling: str | Pooling) -> Tensor:
    """Return one vector per text: that of its first (`cls`) or last (`last`) position, or their mean (`mean`).

    The vectors are in float32 at least, and in the order of the packed batch. A function in place of a name gets the
    vectors of the tokens and the batch, and returns (B, H) in the same order.

    Raises:
        InputError: a function returned another shape.
    """
    if callable(pooling):
        vectors = pooling(at_least_float32(hidden_NH), texts)
        if vectors.shape != (len(texts), hidden_NH.shape[1]):
            raise InputError(
                f"pooling: {pooling.__name__} returned {tuple(vectors.shape)}, expected one vector of the hidden size"
                f" per text, {(len(texts), hidden_NH.shape[1])}"
            )
        return vectors
    if pooling == "mean":
        lengths = texts.cu_seqlens.diff().long()
        return torch.segment_reduce(at_least_float32(hidden_NH), "mean", lengths=lengths, axis=0, unsafe=True)
    rows = texts.cu_seqlens[:-1].long() if pooling == "cls" else texts.cu_seqlens[1:].long() - 1
    return at_least_float32(hidden_NH.index_select(0, rows))


def first_decoder_states(backbone: PreTrainedModel, texts: PackedBatch) -> Tensor:
    """Return the vector of the start token (B, H), the first that an encoder-decoder's decoder reads."""
    inputs, mask_BT = padded(backbone, texts)
    start = torch.full((len(texts), 1), start_token(backbone), device=mask_BT.device)
    return at_least_float32(backbone(**inputs, decoder_input_ids=start, use_cache=False)[0][:, 0])


class DenseEncoder(Encoder):
    """An encoder shared by queries and passages (LED: BERT, [CLS], no projection, no normalisation).

    Args:
        pooling: how token vectors become one; encoder-decoders use the first decoder token instead.
        head: a linear projection of the pooled vector, before normalisation.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        pooling: str | Pooling = "cls",
        normalize: bool = False,
        head: nn.Linear | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.normalize = normalize
        self.head = head
        use_attention_within_texts(backbone)
        # The pooler is not used; if it were trainable, several processes would wait for its gradient.
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler.requires_grad_(False)

    @property
    def size(self) -> int:
        return self.backbone.config.hidden_size if self.head is None else self.head.out_features

    def forward(self, texts: PackedBatch) -> Tensor:
        """Return the vectors (B, H) in float32. Token types stay 0, since a [SEP] separates title and text."""
        with_decoder = hasattr(self.backbone, "decoder") and self.backbone.config.is_encoder_decoder
        rows = (first_decoder_states if with_decoder else hidden_states)(self.backbone, texts)
        with torch.autocast(rows.device.type, enabled=False):
            vectors = texts.restore(rows if with_decoder else pool(rows, texts, self.pooling))
            if self.head is not None:
                vectors = self.head(vectors)
            return F.normalize(vectors, dim=1) if self.normalize else vectors
