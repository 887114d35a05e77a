"""Candidates: the passages of a batch that a query's positive is compared with.

# B = queries of the global batch, C = passages of one query (positive first), N = B x C passages of the batch
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from led_pipeline.models.backbone import to_device

HOST = torch.device("cpu")


def candidate_columns(queries: int, passages: int, among: str, device: torch.device | None = None) -> Tensor:
    """Return the columns of each query's candidates: its positive, its own negatives, then those of other queries.

    Args:
        queries: queries of the batch; each has `passages / queries` passages of its own, in the order of the queries.
        among: `own`: these alone; `batch`: all passages; `batch_negatives`: all but the positives of other queries.
        device: of the result, which is computed there without waiting.
    """
    count = passages // queries
    first = torch.arange(queries, device=device).unsqueeze(1) * count
    columns = torch.arange(passages, device=device)
    if among == "own":
        return first + columns[:count]
    if among == "batch_negatives":
        columns = torch.cat([columns[:count], columns.view(queries, count)[1:, 1:].flatten()])
    return (first + columns) % passages


def among(values_BN: Tensor, candidates: str) -> Tensor:
    """Return the values of each query's candidates."""
    queries, passages = values_BN.shape
    return values_BN.gather(1, candidate_columns(queries, passages, candidates, values_BN.device))


@dataclass(frozen=True)
class Masks:
    """Passages of a batch that are no negatives of a query, because they are positives of it."""

    masked_BN: Tensor | None = None
    """True at these passages, in host memory; None if there are none."""

    @property
    def count(self) -> Tensor:
        """Number of masked pairs of a query and a passage."""
        return torch.tensor(0) if self.masked_BN is None else self.masked_BN.sum()

    def among(self, candidates: str, device: torch.device = HOST) -> Tensor | None:
        """Return the mask of each query's candidates. A query's own candidates hold no positive but the first."""
        if self.masked_BN is None or candidates == "own":
            return None
        return to_device(among(self.masked_BN, candidates), device)
