"""Compiled: the layers of a model as code that torch.compile generates, for trainings on a GPU."""

from transformers import PreTrainedModel

COMPILER = "inductor"  # torch.compile's backend


def compile_layers(backbone: PreTrainedModel) -> None:
    """Compile a backbone with torch.compile at its first batch; the names of its weights stay.

    The number of texts and tokens of a batch are symbols, so batches of other sizes need no other code. On a GPU in
    half precision a pass is one graph. Attention by one call per length (`backbone.attend`) is left out of the graphs,
    because the lengths of a batch would become part of them.
    """
    backbone.compile(dynamic=True, backend=COMPILER)
