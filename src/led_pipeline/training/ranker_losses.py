"""Losses of rankers: pure functions of the scores of each query's candidates, the positive in column 0.

# B = queries, C = candidates of one query (positive first)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from led_pipeline.recipe.settings import RankerObjective


def softmax(scores_BC: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of each query's positive among its candidates.

    Args:
        smoothing: share of the label that is spread evenly over all candidates.
    """
    positives = torch.zeros(len(scores_BC), dtype=torch.long, device=scores_BC.device)
    return F.cross_entropy(scores_BC.float(), positives, label_smoothing=smoothing)


def bce(scores_BC: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean over all pairs of the binary cross-entropy of sigmoid(score) with 1 for the positive, 0 for the others.

    For the difference of two words' logits this is monoT5's loss, the cross-entropy among the two words.

    Args:
        smoothing: share of each label that is spread evenly over both values, so that 1 and 0 are nearer to 1/2.
    """
    labels = torch.full_like(scores_BC, smoothing / 2, dtype=torch.float32)
    labels[:, 0] = 1 - smoothing / 2
    return F.binary_cross_entropy_with_logits(scores_BC.float(), labels)


def margin(scores_BC: Tensor, *, gap: float = 1.0) -> Tensor:
    """Mean over a query's negatives of relu(gap - (positive - negative)).

    Source: margin ranking loss, OpenMatch's `mr`.
    """
    scores = scores_BC.float()
    return (gap - (scores[:, :1] - scores[:, 1:])).relu().mean()


def soft_margin(scores_BC: Tensor) -> Tensor:
    """Mean over a query's negatives of log(1 + exp(negative - positive)).

    Source: the smooth form of `margin`, OpenMatch's `smr`.
    """
    scores = scores_BC.float()
    return F.softplus(scores[:, 1:] - scores[:, :1]).mean()


def ranking(scores_BC: Tensor, settings: RankerObjective) -> Tensor:
    """Return the loss that a stage's settings name under `ranking_loss`."""
    if settings.ranking_loss == "margin":
        return margin(scores_BC, gap=settings.ranking_margin)
    if settings.ranking_loss == "soft_margin":
        return soft_margin(scores_BC)
    return {"softmax": softmax, "bce": bce}[settings.ranking_loss](scores_BC, smoothing=settings.label_smoothing)
