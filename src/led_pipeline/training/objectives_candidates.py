"""Candidates: which passages of a batch a query's scores are compared among.

# B = queries of the global batch, C = passages of one query (positive first), N = B x C passages of the batch
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def candidate_columns(queries: int, passages: int, among: str, device: torch.device | None = None) -> Tensor:
    """Return which passages of the batch are candidates of each query, its positive first, then its own negatives.

    Args:
        queries: of the batch; each has `passages / queries` own candidates, its positive first, in the queries' order.
        among: `own`: these alone; `batch`: all passages; `batch_negatives`: all but other queries' positives.

    Made on the device, without waiting for it.
    """
    count = passages // queries
    first = torch.arange(queries, device=device).unsqueeze(1) * count
    columns = torch.arange(passages, device=device)
    if among == "own":
        return first + columns[:count]
    if among == "batch_negatives":
        columns = torch.cat([columns[:count], columns.view(queries, count)[1:, 1:].flatten()])
    return (first + columns) % passages


def among(values_BN: Tensor, which: str) -> Tensor:
    """Return the columns of each query's candidates."""
    queries, passages = values_BN.shape
    return values_BN.gather(1, candidate_columns(queries, passages, which, values_BN.device))


@dataclass(frozen=True)
class Masks:
    """What of a batch's passages is no negative of a query, because it is one of the query's positives."""

    masked_BN: Tensor | None = None  # True there, in host memory; None where there is no such passage

    @property
    def count(self) -> Tensor:
        """How many pairs of a query and a passage there are."""
        return torch.tensor(0 if self.masked_BN is None else int(self.masked_BN.sum()))

    def among(self, which: str, device: torch.device | str = "cpu") -> Tensor | None:
        """Return the mask of each query's candidates. A query's own ones hold no positive but the first."""
        if self.masked_BN is None or which == "own":
            return None
        return among(self.masked_BN, which).to(device)
