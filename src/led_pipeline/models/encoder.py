"""Encoder: the base of everything that reads texts with a model of transformers, retrievers and rankers alike."""

from torch import nn
from transformers import PreTrainedModel


class Encoder(nn.Module):
    """A module with a backbone. A user's encoder class need not inherit from it, but has the same attributes."""

    backbone: PreTrainedModel
    """The model of transformers; its weights are saved in its own format."""
