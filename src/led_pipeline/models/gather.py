"""Rows of all processes, with gradient for one's own."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(own: Tensor) -> Tensor:
    """Return the rows of all processes in order of their ranks, equally many each; only one's own keep gradient.

    When every process computes the same loss from the result, the sum of the processes' gradients is the gradient of
    that loss, whatever the loss: in-batch negatives, rank pairs and the FLOPS regulariser alike.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.detach().contiguous())
    parts[dist.get_rank()] = own
    return torch.cat(parts)
