"""int8 on a processor: the linear layers of a model's layers with 8-bit weights, by torch's dynamic quantisation.

Weights are quantised once, the inputs of a product when it is computed. Embeddings, normalisations, attention, pooling
and heads (a projection, a classifier, the masked-LM head of a lexicon stage) stay float32. It pays on processors
without units for bf16 (AMX); docs/measurements/performance.md has times and what it changes.
"""

import copy
import warnings
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
from torch import nn

from led_pipeline.files.errors import InputError

_QUANTISED: "WeakKeyDictionary[nn.Module, nn.Module]" = WeakKeyDictionary()


def in_int8(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a model whose layers multiply in int8; for the same model the same copy.

    Raises:
        InputError: the device is no processor, or this torch has no int8 products for it.
    """
    if device.type != "cpu":
        raise InputError(
            f"inference_precision: int8 is for processors, and this job computes on {device.type}; leave the key out"
            " (fp16 or TF32), or set resources.encode.gpu and resources.score.gpu to 0"
        )
    if torch.backends.quantized.engine == "none":
        raise InputError("inference_precision: this build of torch has no int8 products; write float32 or bf16")
    if model not in _QUANTISED:
        _QUANTISED[model] = _converted(copy.deepcopy(model))
    return _QUANTISED[model]


def _converted(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces another package for the same
        for layers in _outermost_lists(model):
            torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}, torch.qint8, inplace=True)
    return model


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    """Yield the lists of layers of a model that are in no other list."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)
