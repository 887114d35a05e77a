"""Complete: checks that the weights in a file are those of the model, by what transformers reports.

transformers initialises missing tensors at random and ignores unknown ones. Here every tensor is accounted for: it
comes from the file, it is a new head of a stage that trains it, or an error names it.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.model_folder import listed

# Tensors that are computed and not learned; files of former versions hold them.
COMPUTED = ("position_ids", "token_type_ids", "masked_bias", "attn.bias", "inv_freq")
TASKS: tuple[str, ...] = ("PRETRAINING", "MASKED_LM", "CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SEQUENCE_CLASSIFICATION")
TASKS += ("TOKEN_CLASSIFICATION", "QUESTION_ANSWERING", "MULTIPLE_CHOICE", "NEXT_SENTENCE_PREDICTION")


@dataclass(frozen=True)
class Origin:
    """Where a model's weights come from; saved beside them as weights.json."""

    source: str
    """The folder or hub id."""
    prefix: str = ""
    """Prefix of the names in the file, which was removed."""
    new: list[str] = field(default_factory=list)
    """Tensors that the file lacks and that began at random."""
    unused: list[str] = field(default_factory=list)
    """Tensors in the file that no part of the model reads."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return sentences for a log; none if every tensor comes from the file and is used."""
        parts = []
        if self.prefix:
            parts.append(f"model '{self.source}': '{self.prefix}' is taken away from the names of its tensors")
        if self.new:
            parts.append(
                f"model '{self.source}': {len(self.new)} tensors are new, drawn from the seed and still to be trained,"
                f" since it lacks them: {listed(self.new, 8)}"
            )
        if self.unused:
            parts.append(f"model '{self.source}': {len(self.unused)} tensors are not used: {listed(self.unused, 8)}")
        return parts


def origin_of(backbone: nn.Module) -> Origin:
    """Return where the weights of a model come from; `read_weights` has noted it there."""
    origin: object = backbone.origin
    assert isinstance(origin, Origin)
    return origin


@dataclass(frozen=True)
class Report:
    """What transformers reports about a model that it has read; names are sorted."""

    missing: list[str]
    """Tensors of the model that the file lacks."""
    unexpected: list[str]
    """Tensors of the file that the model lacks."""
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Tensors with two shapes: in the file and in the model."""

    @classmethod
    def of(cls, info: dict[str, Any]) -> "Report":
        unexpected = (name for name in info["unexpected_keys"] if not name.endswith(COMPUTED))
        shapes = {name: (tuple(in_file), tuple(in_model)) for name, in_file, in_model in info["mismatched_keys"]}
        return cls(sorted(info["missing_keys"]), sorted(unexpected), dict(sorted(shapes.items())))


def wrapper(report: Report, base: str, may_lack: Callable[[str], bool]) -> str:
    """Return the prefix that a wrapper put before the names in a file, such as `module.`; "" if there is none.

    Args:
        base: the prefix under which transformers names the body of a model with a head.
        may_lack: whether a model may do without a tensor.

    Raises:
        InputError: names with different prefixes fit, so the file holds more than one model.
    """
    missing = {name for name in report.missing if not may_lack(name)}
    prefixes: Counter[str] = Counter()
    for name in report.unexpected:
        parts = name.split(".")
        for i in range(1, len(parts)):
            rest = ".".join(parts[i:])
            if rest in missing or f"{base}.{rest}" in missing:
                prefixes[".".join(parts[:i]) + "."] += 1
                break
    ranked = prefixes.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        first, second = sorted(prefix for prefix, _ in ranked)
        raise InputError(
            f"it holds more than one model, with names that begin with '{first}' and with '{second}'; save the one that"
            " is meant by itself, with its save_pretrained()"
        )
    return ranked[0][0] if ranked else ""


def check(
    model: PreTrainedModel, report: Report, may_lack: Callable[[str], bool], may_be_new: Callable[[str], bool]
) -> None:
    """Check that every tensor that a model needs was in the file, and that none of its body was left out.

    Args:
        may_lack: whether a tensor takes part in no computation.
        may_be_new: whether a stage trains a tensor that the file lacks, or that has another shape there.

    Raises:
        InputError: a sentence without the model's name.
    """
    lost = [name for name in report.missing if not (may_lack(name) or may_be_new(name))]
    if lost:
        text = f"its weights lack {len(lost):,} of the tensors that {type(model).__name__} needs ({listed(lost)})"
        if report.unexpected:
            text += f" and hold {len(report.unexpected):,} of other names ({listed(report.unexpected)})"
        raise InputError(text)
    other = {name: shapes for name, shapes in report.mismatched.items() if not may_be_new(name)}
    if other:
        name, (in_file, in_model) = next(iter(other.items()))
        raise InputError(
            f"the tensor {name} has the shape {_shape(in_file)} in its weights and {_shape(in_model)} by config.json"
            + (f", and so do {len(other) - 1:,} others" if len(other) > 1 else "")
            + "; config.json and weights do not belong together"
        )
    if left := [name for name in report.unexpected if _of_body(model, name)]:
        raise InputError(
            f"its weights hold {len(left):,} tensors in the body of the model that {type(model).__name__} by its"
            f" config.json does not have ({listed(left)}), such as further layers or adapters; correct config.json, or"
            " merge the adapters and save the model again"
        )


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _of_body(model: PreTrainedModel, name: str) -> bool:
    """Return whether a name belongs to the body of a model, not to a head."""
    body = model.base_model
    parts = name.removeprefix(f"{model.base_model_prefix}.").split(".")
    # A pooler is a head; and DeBERTa's files repeat embeddings under names like `_weight`.
    return parts[0] != "pooler" and not parts[-1].startswith("_") and parts[0] in dict(body.named_children())


def foreign(model: PreTrainedModel, unexpected: list[str]) -> list[str]:
    """Return the names in a file that belong to no head that transformers has for this type of model."""
    if not unexpected:
        return []
    heads, config = {"pooler"}, copy.deepcopy(model.config)
    if getattr(config, "num_hidden_layers", 0) > 1:
        config.num_hidden_layers = 1  # enough to see the names of heads
    for task in TASKS:
        kind = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING").get(type(model.config), None)
        for each in kind if isinstance(kind, tuple) else [kind] if kind else []:
            with torch.device("meta"):
                heads |= {name for name, _ in each(config).named_children()}
    heads.discard(model.base_model_prefix)
    return [name for name in unexpected if name.partition(".")[0] not in heads]


def check_finite(model: nn.Module) -> None:
    """Check that no weight is infinite or not a number.

    Raises:
        InputError: a sentence without the model's name.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.numel():
            lowest, highest = torch.aminmax(parameter.detach())
            if not (torch.isfinite(lowest) and torch.isfinite(highest)):
                raise InputError(f"the tensor {name} has values that are infinite or no numbers; the model is damaged")
