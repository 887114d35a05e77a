"""Ranker: a cross-encoder that reads query and passage together and returns one score.

# P = query-passage pairs, T = token positions
"""

from torch import Tensor, nn


class Ranker(nn.Module):
    """A sequence classifier with one logit over `[CLS] query [SEP] title [SEP] passage [SEP]`."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.has_types = getattr(backbone.config, "type_vocab_size", 0) > 1

    def forward(self, ids_PT: Tensor, mask_PT: Tensor, types_PT: Tensor) -> Tensor:
        """Return one float32 logit per pair (P,); token types are 0 in the query part and 1 in the passage part."""
        types = {"token_type_ids": types_PT} if self.has_types else {}
        return self.backbone(input_ids=ids_PT, attention_mask=mask_PT, **types).logits.float().squeeze(-1)
