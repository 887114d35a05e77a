"""Adapters: low-rank matrices that are trained in place of the weights beside them (LoRA, by peft).

On export they are merged into the weights: what is saved is always a plain model in float32.
"""

from importlib.util import find_spec

import torch
from torch import nn
from transformers import PreTrainedModel

from led_pipeline.files.errors import InputError
from led_pipeline.models.weights import has_classifier, is_head, read_weights, seed_of
from led_pipeline.recipe.settings import Optimisation
from led_pipeline.recipe.step_settings import ModelSettings


def add_adapter(backbone: PreTrainedModel, source: str, settings: ModelSettings) -> None:
    """Put low-rank adapters beside a model's weights, if the settings ask for `lora`, and freeze all else.

    A ranker's classifier is trained whole. The adapters begin from the settings' seed.

    Args:
        source: where the weights were read, for `merge_adapters`.

    Raises:
        InputError: peft is not installed, or none of the model's layers fits.

    Source: LoRA (arXiv:2106.09685), by peft.
    """
    lora = settings.lora if isinstance(settings, Optimisation) else None
    if lora is None:
        return
    if find_spec("peft") is None:
        raise InputError("lora: it needs peft, which is not installed; pip install peft, or leave this key out")
    from peft import LoraConfig, inject_adapter_in_model

    sizes = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings))
        try:
            inject_adapter_in_model(LoraConfig(**sizes, target_modules=lora.targets), backbone)
        except ValueError as error:
            names = sorted({n.rpartition(".")[2] for n, m in backbone.named_modules() if isinstance(m, nn.Linear)})
            kind, targets = backbone.config.model_type, lora.targets
            fault = f"{targets} does not fit" if targets else "name some, since peft has no default for"
            raise InputError(
                f"lora.targets: {fault} a {kind} model, whose linear layers are called {', '.join(names)}"
            ) from error
    vars(backbone)["adapted_from"] = source
    for name, parameter in backbone.named_parameters():
        if has_classifier(settings) and is_head(name, backbone.base_model_prefix):
            parameter.requires_grad_(True)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # beside quantised weights peft uses the type of the products


def merge_adapters(backbone: PreTrainedModel, settings: ModelSettings) -> PreTrainedModel:
    """Return the float32 model to save, adapters merged.

    The adapters are merged into weights read again from the source, which are exact where those in memory are
    quantised.
    """
    source: str | None = vars(backbone).get("adapted_from")
    if source is None:
        return backbone
    from peft.tuners.tuners_utils import BaseTunerLayer

    fresh = read_weights(source, settings.model_copy(update={"load_in": None}))
    add_adapter(fresh, source, settings)
    trained = {name: p.detach().cpu() for name, p in backbone.named_parameters() if p.requires_grad}
    unknown = fresh.load_state_dict(trained, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the adapters of {source} cannot be merged: {', '.join(unknown)}")
    for name, module in list(fresh.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            fresh.set_submodule(name, module.get_base_layer())
    return fresh
