"""Regularisers of lexicon stages: pure functions of term weights, which keep vectors sparse but not empty.

# B = queries, N = texts, V = vocabulary entries
"""

from torch import Tensor


def flops(weights_NV: Tensor, *, threshold: int | None = None, slots: int = 1) -> Tensor:
    """Expected number of term products: sum over the vocabulary of the squared mean absolute weight.

    Args:
        threshold: texts of at most this number of terms count as empty; they still take part in the mean.
        slots: size of the groups that the rows come in. The mean is over the groups, for each place in a group; the
            squares of all places are added, so the value grows with their number.

    Source: FLOPS regulariser, Paria et al. (arXiv:2004.05665), as used by SPLADE; threshold and groups as in
    OpenSearch's inference-free retrievers (arXiv:2504.14839). The rows must be those of the global batch: the square of
    a local mean is another quantity.
    """
    weights_NV = weights_NV.float().abs()
    if threshold is not None:
        weights_NV = weights_NV * (weights_NV.count_nonzero(dim=1) > threshold).unsqueeze(1)
    return weights_NV.reshape(-1, slots, weights_NV.shape[1]).mean(dim=0).square().sum()


def l1(weights_NV: Tensor) -> Tensor:
    """Mean over texts of the sum of absolute weights. Source: SPLADE's query regulariser (arXiv:2207.03834)."""
    return weights_NV.float().abs().sum(dim=1).mean()


def anti_zero(queries_BV: Tensor, passages_NV: Tensor) -> Tensor:
    """Sum of the inverse squares of the total weights of queries and of passages, which keeps vectors from being empty.

    Infinite if one side is empty. Source: the code of SPLADE's Hugging Face trainer.
    """
    return 1 / queries_BV.float().sum().square() + 1 / passages_NV.float().sum().square()


def quadratic_warmup(step: int, steps: int) -> float:
    """Return the share of a regulariser's weight that applies at a step (from 0): ((step + 1) / steps)^2, at most 1.

    Source: the schedule of SPLADE's lambdas (Paria et al., arXiv:2004.05665).
    """
    return min(1.0, ((step + 1) / steps) ** 2) if steps else 1.0
