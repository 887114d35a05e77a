"""DEN: one vector per text, the score a dot product.

# B = texts, T = token positions, H = vector size
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pool(hidden_BTH: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """Return one vector per text: the first position's (`cls`) or the mean over the text's positions (`mean`)."""
    if pooling == "cls":
        return hidden_BTH[:, 0]
    weights = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class DenseEncoder(nn.Module):
    """An encoder shared by queries and passages (LED: BERT, [CLS], no projection, no normalisation)."""

    def __init__(self, backbone: nn.Module, *, pooling: str = "cls", normalize: bool = False):
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.normalize = normalize
        # The next-sentence head is not used; left trainable, it would keep several processes waiting for its gradient.
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler.requires_grad_(False)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the vectors (B, H) in float32. Token types stay 0: a title is told apart by its [SEP] alone."""
        hidden = self.backbone(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            vectors = pool(hidden.float(), mask_BT, self.pooling)
            return F.normalize(vectors, dim=1) if self.normalize else vectors
