"""Matryoshka: the whole loss of a dense stage at several sizes of its vectors, so that prefixes of them can be used.

Source: Matryoshka representation learning (arXiv:2205.13147) with equal importance of all sizes. It adds the losses up;
here the loss is their mean, so that `clip_norm` means the same with any number of sizes.
"""

import torch.nn.functional as F
from torch import Tensor

from led_pipeline.files.errors import InputError
from led_pipeline.recipe.settings import DenseObjective
from led_pipeline.recipe.step_settings import DenseTraining, RetrieverTraining


def sizes(settings: RetrieverTraining, dimensions: int) -> list[int | None]:
    """Return the sizes of a stage's vectors whose loss is computed; None is the full one, and comes first.

    Args:
        dimensions: of the vectors.

    Raises:
        InputError: a size is not smaller than the vectors.
    """
    if not isinstance(settings, DenseObjective) or not settings.matryoshka:
        return [None]
    if settings.matryoshka[-1] >= dimensions:
        raise InputError(
            f"matryoshka: {settings.matryoshka[-1]} is no part of a vector with {dimensions} dimensions; name smaller"
            " sizes only (the full size is always included)"
        )
    return [None, *settings.matryoshka]


def prefix(vectors_BD: Tensor, size: int | None, settings: RetrieverTraining) -> Tensor:
    """Return the first dimensions of each vector, with length 1 if the stage's vectors have it; None: all of them."""
    if size is None:
        return vectors_BD
    part = vectors_BD[:, :size]
    return F.normalize(part, dim=1) if isinstance(settings, DenseTraining) and settings.normalize else part
