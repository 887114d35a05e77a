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

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def read_weights(source: str | Path, settings: Mapping[str, Any]) -> nn.Module:
    """Load the model that a stage's settings need, in float32 unless they say `load_in`.

    Raises:
        InputError: the model cannot be found, or it is not of the kind that the settings need.
    """
    # Which heads of a published model go unused is no news; a wrong family shows in led.json and in the scores.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    quantised = _quantisation(str(source), settings) if settings.get("load_in") else None
    options: dict[str, Any] = {"dtype": "float32"} | ({"quantization_config": quantised} if quantised else {})
    try:
        model = _read(str(source), settings, options)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model '{source}': not a local folder with a model, nor reachable on the hub ({reason})"
        ) from error
    for module in model.modules() if quantised else ():
        module.register_state_dict_post_hook(_without_scales)
    return model


def _read(source: str, settings: Mapping[str, Any], options: dict[str, Any]) -> nn.Module:
    if settings["family"] == "lexicon":
        return AutoModelForMaskedLM.from_pretrained(source, **options)
    if _has_classifier(settings):
        return AutoModelForSequenceClassification.from_pretrained(source, num_labels=1, **options)
    if settings["family"] == "ranker":
        return AutoModelForSeq2SeqLM.from_pretrained(source, **options)
    return _encoder(source, settings, options)


def _without_scales(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave the scales of 4-bit weights out of a state: they never change, and bitsandbytes cannot load them again."""
    for key in [key for key in state if key.startswith(f"{prefix}weight.")]:
        del state[key]


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


def _quantisation(source: str, settings: Mapping[str, Any]) -> BitsAndBytesConfig:
    """Return how bitsandbytes holds the weights; what learns besides adapters stays as it is."""
    load_in = settings["load_in"]
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"load_in: {load_in} needs bitsandbytes, which is not installed; pip install bitsandbytes, or leave this"
            " key out"
        )
    skipped = _learning_modules(source) if _has_classifier(settings) else None
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=HALVES.get(settings.get("precision"), torch.float32),
        llm_int8_skip_modules=skipped,
    )


def _has_classifier(settings: Mapping[str, Any]) -> bool:
    return settings["family"] == "ranker" and settings.get("scoring") != "true_false"


def _learning_modules(source: str) -> list[str]:
    """Return the modules of a sequence classifier that learn whole beside adapters: its head and its pooler."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(source))
    names = [name for name, _ in model.named_modules()]
    return [name for name in names if name and _is_head(name, model.base_model_prefix)]


def _is_head(name: str, base: str) -> bool:
    return not f"{name}.".startswith(f"{base}.") or ".pooler." in f"{name}."


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
            kind, targets = backbone.config.model_type, lora["targets"]
            what = f"{targets} does not fit" if targets else "name some, since peft has no choice of its own for"
            raise InputError(
                f"lora.targets: {what} a {kind} model, whose linear layers are called {', '.join(names)}"
            ) from error
    backbone.adapted_from = source
    for name, parameter in backbone.named_parameters():
        if _has_classifier(settings) and _is_head(name, backbone.base_model_prefix):
            parameter.requires_grad_(True)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # beside weights of few bits peft takes those of the products


def plain(backbone: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Return a model as it shall be written: with an adapter, one read anew in float32 that the adapter is merged into.

    Reading it anew keeps the weights exact where those in memory have few bits only.
    """
    if not hasattr(backbone, "adapted_from"):
        return backbone
    from peft.tuners.tuners_utils import BaseTunerLayer

    fresh = read_weights(backbone.adapted_from, dict(settings) | {"load_in": None})
    add_adapter(fresh, backbone.adapted_from, settings)
    learned = {name: p.detach().cpu() for name, p in backbone.named_parameters() if p.requires_grad}
    unknown = fresh.load_state_dict(learned, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the adapters of {backbone.adapted_from} cannot be merged: {', '.join(unknown)}")
    for name, module in list(fresh.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            fresh.set_submodule(name, module.get_base_layer())
    return fresh
