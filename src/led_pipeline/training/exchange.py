"""Exchange: how several processes add up their gradients, in float32 or rounded to bf16."""

from typing import Literal

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Type = Literal["float32", "bf16"]


def in_bf16(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Average the gradients of a bucket over all processes, rounded to bf16 before they are sent and added.

    torch's own hook does the same, but refuses to run on processors, where the tests run.
    """
    gradients = bucket.buffer()
    rounded = gradients.bfloat16().div_(dist.get_world_size())

    def replace(sums: torch.futures.Future[list[Tensor]]) -> Tensor:
        return gradients.copy_(sums.value()[0])

    future: torch.futures.Future[Tensor] = dist.all_reduce(rounded, async_op=True).get_future().then(replace)
    return future


def prepare(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, gradients: Type
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a model and its optimizer as accelerate prepares them, with the type in which gradients are exchanged."""
    model, optimizer = accelerator.prepare(model, optimizer)
    set_exchange(model, gradients)
    return model, optimizer


def set_exchange(model: nn.Module, gradients: Type) -> None:
    """Set the type in which the processes of a prepared model exchange gradients; one alone exchanges none."""
    if gradients == "bf16" and isinstance(model, DistributedDataParallel) and dist.get_world_size() > 1:
        model.register_comm_hook(None, in_bf16)
