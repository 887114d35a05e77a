"""Gather: rows of all processes, with gradient for those of this process."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(local: Tensor) -> Tensor:
    """Return the rows of all processes in the order of ranks; only those of this process have gradient.

    Every process must pass the same number of rows. If every process computes the same loss from the result, the sum of
    the processes' gradients is the gradient of that loss, whatever it is: in-batch negatives, rank pairs or FLOPS.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.detach().contiguous())
    parts[dist.get_rank()] = local
    return torch.cat(parts)
