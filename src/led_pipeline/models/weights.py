"""Weights: Hugging Face models from a folder or the hub, plain, in few bits, or with low-rank adapters.

An adapter is trained in place of the weights that it stands beside, and merged into them on export: what is written is
always a plain model in float32.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    BitsAndBytesConfig,
    logging,
)

from led_pipeline.files import InputError


def read_weights(source: str | Path, settings: Mapping[str, Any]) -> nn.Module:
    """Load the model that a stage's settings need, in float32 unless they say `load_in`.

    Raises:
        InputError: the model cannot be found, or it is not of the kind that the settings need.
    """
    # Which heads of a published model go unused is no news; a wrong family shows in led.json and in the scores.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    quantised = _quantisation(settings.get("load_in"))
    options: dict[str, Any] = {"dtype": "float32"} | ({"quantization_config": quantised} if quantised else {})
    try:
        if settings["family"] == "lexicon":
            return AutoModelForMaskedLM.from_pretrained(str(source), **options)
        if settings["family"] == "ranker" and settings.get("scoring") == "true_false":
            return AutoModelForSeq2SeqLM.from_pretrained(str(source), **options)
        if settings["family"] == "ranker":
            return AutoModelForSequenceClassification.from_pretrained(str(source), num_labels=1, **options)
        return _encoder(str(source), settings, options)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model '{source}': not a local folder with a model, nor reachable on the hub ({reason})"
        ) from error


def _encoder(source: str, settings: Mapping[str, Any], options: dict[str, Any]) -> nn.Module:
    """Load any model without a task; of an encoder-decoder its encoder alone unless the decoder is asked for."""
    config, decoder = AutoConfig.from_pretrained(source), settings.get("encoder_decoder") == "first_decoder_token"
    encoders = AutoModelForTextEncoding._model_mapping
    encoder_alone = type(config) in encoders and "Encoder" in encoders[type(config)].__name__
    if decoder and not (config.is_encoder_decoder or encoder_alone):
        raise InputError(
            f"encoder_decoder: '{source}' is a {config.model_type} model and has no decoder beside an encoder; leave"
            " this key out"
        )
    if config.is_encoder_decoder and not decoder and not encoder_alone:
        raise InputError(
            f"encoder_decoder: of a {config.model_type} model ('{source}') transformers has no encoder alone; say"
            " first_decoder_token"
        )
    return (AutoModelForTextEncoding if encoder_alone and not decoder else AutoModel).from_pretrained(source, **options)


def _quantisation(load_in: str | None) -> BitsAndBytesConfig | None:
    if load_in is None:
        return None
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"load_in: {load_in} needs bitsandbytes, which is not installed; pip install bitsandbytes (and have a GPU),"
            " or leave this key out"
        )
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)


def add_adapter(backbone: nn.Module, source: str, settings: Mapping[str, Any]) -> None:
    """Put low-rank adapters beside a model's weights and freeze all else but a ranker's classifier.

    Args:
        source: where the weights were read, for `plain`.
        settings: `lora`, and the seed that decides how the adapters begin.

    Raises:
        InputError: peft is not installed, or finds nothing to stand beside.

    Source: LoRA (arXiv:2106.09685), by peft.
    """
    if find_spec("peft") is None:
        raise InputError("lora: it needs peft, which is not installed; pip install peft, or leave this key out")
    from peft import LoraConfig, inject_adapter_in_model

    lora = settings["lora"]
    sizes = {"r": lora["rank"], "lora_alpha": lora["alpha"], "lora_dropout": lora["dropout"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.get("seed") or 0)
        try:
            inject_adapter_in_model(LoraConfig(**sizes, target_modules=lora["targets"]), backbone)
        except ValueError as error:
            names = sorted({n.rpartition(".")[2] for n, m in backbone.named_modules() if isinstance(m, nn.Linear)})
            raise InputError(
                f"lora.targets: {lora['targets']} does not fit a {backbone.config.model_type} model, whose linear"
                f" layers are called {', '.join(names)}"
            ) from error
    backbone.adapted_from = source
    for name, parameter in backbone.named_parameters():
        is_head = not name.startswith(f"{backbone.base_model_prefix}.") or ".pooler." in name
        if settings["family"] == "ranker" and settings.get("scoring") != "true_false" and is_head:
            parameter.requires_grad_(True)


def plain(backbone: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Return a model as it shall be written: with an adapter, one read anew in float32 that the adapter is merged into.

    Reading it anew keeps the weights exact where those in memory have few bits only.
    """
    if not hasattr(backbone, "adapted_from"):
        return backbone
    from peft.tuners.tuners_utils import BaseTunerLayer

    fresh = read_weights(backbone.adapted_from, dict(settings) | {"load_in": None})
    add_adapter(fresh, backbone.adapted_from, settings)
    known = {
        name: value.detach().cpu() for name, value in backbone.state_dict().items() if value.dtype == torch.float32
    }
    fresh.load_state_dict(known, strict=False)
    for name, module in list(fresh.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            fresh.set_submodule(name, module.get_base_layer())
    return fresh
