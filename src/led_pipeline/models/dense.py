"""DEN: one vector per text, the score a dot product.

# B = texts, N = tokens of all texts, H = vector size
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from led_pipeline.models.backbone import Texts, at_least_float32, hidden_states, use_attention_within_texts


def pool(hidden_NH: Tensor, texts: Texts, pooling: str) -> Tensor:
    """Return one vector per text: the first position's (`cls`) or the mean over the text's positions (`mean`).

    They are in float32 at least, and in the order of the tokens, as `hidden_states` gives them.
    """
    starts = texts.bounds[:-1].long()
    if pooling == "cls":
        return at_least_float32(hidden_NH.index_select(0, starts))
    lengths = texts.bounds.diff().long()
    return torch.segment_reduce(at_least_float32(hidden_NH), "mean", lengths=lengths, axis=0, unsafe=True)


class DenseEncoder(nn.Module):
    """An encoder shared by queries and passages (LED: BERT, [CLS], no projection, no normalisation)."""

    def __init__(self, backbone: nn.Module, *, pooling: str = "cls", normalize: bool = False):
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.normalize = normalize
        use_attention_within_texts(backbone)
        # The next-sentence head is not used; left trainable, it would keep several processes waiting for its gradient.
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler.requires_grad_(False)

    @property
    def size(self) -> int:
        return self.backbone.config.hidden_size

    def forward(self, texts: Texts) -> Tensor:
        """Return the vectors (B, H) in float32. Token types stay 0: a title is told apart by its [SEP] alone."""
        hidden_NH = hidden_states(self.backbone, texts)
        with torch.autocast(hidden_NH.device.type, enabled=False):
            vectors = texts.restore(pool(hidden_NH, texts, self.pooling))
            return F.normalize(vectors, dim=1) if self.normalize else vectors
