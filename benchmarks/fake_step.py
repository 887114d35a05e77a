"""Count what the loss of a training step takes on a GPU, without one: operations, waits of the host, and memory.

Run as `python benchmarks/fake_step.py`; it needs g++. torch computes with tensors that have a shape, a type and the
device cuda, but no values (FakeTensorMode), so the operations are those of a GPU: bf16 autocast and FlashAttention's
kernel. Memory is that of the tensors that the forward pass keeps for the gradient, by storage, plus weights, gradients
and the optimizer's moments. The backward pass does not run: a torch without CUDA refuses it. Texts have lengths like
MS MARCO's. Kernels' own buffers are not counted.
"""

import argparse
import ctypes
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import workload
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from led_pipeline.models import backbone
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.recipe.step_settings import RetrieverTraining
from led_pipeline.training import modules, objectives
from led_pipeline.training.training_data import TrainingData

CUDA = torch.device("cuda", 0)
NO_KERNEL = ("aten.detach.default", "prim.device.default")
AMPERE = (8, 0)  # the capability of the card
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
static c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, &guard);
"""
# The steps of config/config.yaml, and one in float32: name, family, queries, passages per query, precision.
STEPS = [
    ("LED 16 x 33", "dense", 16, 33, "bf16"),
    ("LED 4 x 33", "dense", 4, 33, "bf16"),
    ("LED 2 x 33", "dense", 2, 33, "bf16"),
    ("DEN 16 x 8", "dense", 16, 8, "bf16"),
    ("LEX 48 x 6", "lexicon", 48, 6, "bf16"),
    ("DEN 16 x 8, float32", "dense", 16, 8, "float32"),
]


@dataclass
class Counted(TorchDispatchMode):
    """Counts the operations on the fake GPU, and what makes the host wait for it."""

    operations: Counter[str] = field(default_factory=Counter)
    copies: list[str] = field(default_factory=list)
    """Copies between host and GPU for which the host waits: pageable memory, or `non_blocking` not given."""
    reads: list[str] = field(default_factory=list)
    """Operations that read a value from the GPU."""
    pinned: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = str(function)
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors}
        if "cuda" in devices and not function.is_view and name not in NO_KERNEL:
            self.operations[name] += 1
        if name in ("aten._local_scalar_dense.default", "aten.nonzero.default") and "cuda" in devices:
            self.reads.append(name)
        if devices == {"cpu", "cuda"} and name in ("aten._to_copy.default", "aten.copy_.default"):
            source = args[0] if name == "aten._to_copy.default" else args[1]
            waits = not (kwargs or {}).get("non_blocking", args[2] if len(args) > 2 else False)
            if source.device.type == "cpu" and source.ndim and (waits or id(source) not in self.pinned):
                self.copies.append(f"{name} {tuple(source.shape)}")
            elif source.device.type == "cuda":
                self.copies.append(f"{name} {tuple(source.shape)} to the host")
        return result


class Indexing(TorchFunctionMode):
    """Lets `tensor[...]` work on fake GPUs with a torch that was built without CUDA, which cannot guard the device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.__getitem__ and args[0].device.type == "cuda":
            return self.item(args[0], args[1])
        if function is Tensor.__setitem__ and args[0].device.type == "cuda":
            tensor, index, value = args
            value = torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device)
            if isinstance(index, Tensor):
                return (
                    tensor.masked_fill_(index, 0) if index.dtype == torch.bool else tensor.index_put_((index,), value)
                )
            return self.item(tensor, index).copy_(value)
        return function(*args, **(kwargs or {}))

    def item(self, tensor: Tensor, index: Any) -> Tensor:
        dimension, tensors = 0, []
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, int):
                tensor = torch.select(tensor, dimension, part)
                continue
            if isinstance(part, slice):
                tensor = torch.ops.aten.slice.Tensor(tensor, dimension, part.start, part.stop, part.step or 1)
            elif part is None:
                tensor = tensor.unsqueeze(dimension)
            else:
                tensors += [None] * (dimension - len(tensors)) + [part]
            dimension += 1
        return torch.ops.aten.index.Tensor(tensor, tensors) if tensors else tensor


def on_gpu(model: nn.Module) -> nn.Module:
    """Give a model parameters and buffers on the fake GPU."""
    moved: dict[Tensor, Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None and tensor not in moved:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
                    moved[tensor] = nn.Parameter(empty, tensor.requires_grad) if store is module._parameters else empty
                store[name] = moved.get(tensor)
    return model


@contextmanager
def fake_gpu(capability: tuple[int, int] = AMPERE) -> Iterator[Counted]:
    """Within this context tensors on cuda have no values, and torch behaves as if a GPU were there."""
    counted = Counted()

    def pin_memory(tensor: Tensor) -> Tensor:
        counted.pinned.add(id(tensor))
        keep.append(tensor)  # or its id may be that of another one
        return tensor

    keep: list[Tensor] = []
    backbone._capability.cache_clear()
    with ExitStack() as stack:
        for target, replacement in {
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *_, **__: True,
            "torch.cuda.get_device_capability": lambda *_: capability,
            "torch.Tensor.pin_memory": pin_memory,
        }.items():
            stack.enter_context(patch(target, replacement))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(counted)
        stack.enter_context(Indexing())
        yield counted
    backbone._capability.cache_clear()


@dataclass(frozen=True)
class Step:
    """What one training step does."""

    tokens: int
    operations: int
    copies: list[str]
    reads: list[str]
    saved: int
    """Bytes that are kept for the gradient, without the weights."""
    state: int
    """Bytes of weights, gradients and the optimizer's moments."""


def encoder_of(family: str, layers: int, hidden: int, vocabulary: int) -> nn.Module:
    """Return BERT-base for a dense stage, and the half of its layers (DistilBERT) for a lexicon stage."""
    if family == "dense":
        return DenseEncoder(workload.bert(layers, hidden, vocabulary))
    return LexiconEncoder(workload.masked_language_model(max(1, layers // 2), hidden, vocabulary))


def step(
    data: TrainingData,
    settings: RetrieverTraining,
    queries: int,
    sizes: tuple[int, int, int],
    gradients: bool = True,
) -> Step:
    """Compute the loss of a step on the fake GPU, and count it.

    Args:
        sizes: layers, hidden size and vocabulary of the model.
        gradients: record them; this needs `allow_gradients`, and without it nothing is kept.
    """
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cuda":
            saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with fake_gpu() as counted:
        model = modules.trainable(on_gpu(encoder_of(settings.family, *sizes)), settings).train()
        model.requires_grad_(gradients)
        half = torch.autocast("cuda", dtype=torch.bfloat16, enabled=settings.precision != "float32")
        model.forward = convert_outputs_to_fp32(half(model.forward))
        weights = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in model.parameters()}
        counted.operations.clear()
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks:
            rows = np.arange(queries)
            loss = objectives.retriever_loss(model, data, rows, slice(0, queries), settings, CUDA)
        bytes_saved = sum(size for storage, size in saved.items() if storage not in weights)
    operations = sum(counted.operations.values())
    # Weight, gradient (whose memory the buckets of DDP share) and two moments.
    return Step(loss.tokens, operations, counted.copies, counted.reads, bytes_saved, 4 * sum(weights.values()))


def allow_gradients() -> None:
    """Let a torch without CUDA record gradients of fake tensors on cuda, by a guard of that device that does nothing.

    Raises:
        CalledProcessError: g++ cannot compile the guard.
    """
    if torch.backends.cuda.is_built():
        return
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "guard.cpp"), Path(folder, "guard.so")
        source.write_text(GUARD)
        options = ["-shared", "-fPIC", "-std=c++20", f"-I{home}/include", f"-L{home}/lib", "-lc10"]
        subprocess.run(["g++", str(source), "-o", str(library), *options], check=True)
        ctypes.CDLL(str(library))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small models and batches")
    tiny = parser.parse_args().tiny
    allow_gradients()
    layers, hidden, vocabulary = (2, 64, 500) if tiny else (12, 768, workload.VOCABULARY)
    print(f"{workload.machine()}; no GPU computes anything here\n")
    workload.head(["step", "tokens", "operations", "waits for copies", "reads", "kept GB", "with weights GB"])
    with tempfile.TemporaryDirectory() as folder:
        for name, family, queries, candidates, precision in STEPS:
            size = (2, 3) if tiny else (queries, candidates)
            data = workload.training_data(Path(folder), size[0], 100 if tiny else 4_000, size[1], vocabulary)
            settings = workload.settings(family, precision=precision)
            counts = step(data, settings, size[0], (layers, hidden, vocabulary))
            waits = len(counts.copies), len(counts.reads)
            memory = f"{counts.saved / 1e9:.1f}", f"{(counts.saved + counts.state) / 1e9:.1f}"
            workload.row([name, f"{counts.tokens:,}", f"{counts.operations:,}", *map(str, waits), *memory])


if __name__ == "__main__":
    main()
