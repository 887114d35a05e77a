"""Heads: the linear projection of a dense stage, from its source or new."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from led_pipeline.files.errors import InputError
from led_pipeline.models.complete import origin_of
from led_pipeline.models.weights import seed_of
from led_pipeline.pretrained import model_folder
from led_pipeline.pretrained.model_folder_modules import stored_projection
from led_pipeline.recipe.representation import DenseRepresentation
from led_pipeline.recipe.settings import Optimisation

HEAD = "head.safetensors"


def head_of(source: str, settings: DenseRepresentation, backbone: PreTrainedModel) -> nn.Linear | None:
    """Return the linear head: that of the source, or a new one from the seed if it is trained.

    Raises:
        InputError: the source's head does not fit its model or the settings, or there is none and nothing is trained.
    """
    size, hidden = settings.head, backbone.config.hidden_size
    stored = _stored(source, size, hidden)
    if stored is not None and size != len(stored):
        raise InputError(f"head: '{source}' has a linear head of {len(stored)} dimensions; say so")
    if stored is None and size is not None and not isinstance(settings, Optimisation):
        raise InputError(
            f"head: '{source}' has no linear head ({HEAD}), and train: false takes a model as it is; leave this key"
            " out, or train this stage, which begins a new one"
        )
    if size is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings))
        head = nn.Linear(hidden, size, bias=False)
    if stored is not None:
        head.load_state_dict({"weight": stored})
    else:
        origin_of(backbone).new.append(f"{HEAD}: weight")
    return head


def _stored(source: str, size: int | None, hidden: int) -> Tensor | None:
    """Return the weight of the source's head; the Dense module of sentence-transformers only if it has that size."""
    if (file := Path(source, HEAD)).is_file():
        return _weight(file, "weight", hidden)
    projection = None if size is None else stored_projection(Path(source), size)
    return None if projection is None else _weight(projection, "linear.weight", hidden)


def _weight(file: Path, name: str, hidden: int) -> Tensor:
    tensors = tensors_of(file)
    weight = tensors.get(name)
    if weight is None or tensors.keys() != {name} or weight.dim() != 2 or weight.shape[1] != hidden:
        raise InputError(
            f"{file}: expected one tensor `{name}` with {hidden} columns, the hidden size; name another model"
        )
    return weight.float()


def tensors_of(file: Path) -> dict[str, Tensor]:
    """Return the tensors in a file of safetensors or, with the suffix .bin, of PyTorch.

    Raises:
        InputError: the file cannot be read.
    """
    model_folder.check_weights(file)
    with model_folder.as_sentences(str(file), model_folder.AGAIN):
        if file.suffix == ".bin":
            return dict(torch.load(file, map_location="cpu", weights_only=True))
        return load_file(file)
