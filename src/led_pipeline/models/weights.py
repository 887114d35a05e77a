"""Weights: Hugging Face models from a folder or the hub, plain, in few bits, or with low-rank adapters.

An adapter is trained in place of the weights that it stands beside, and merged into them on export: what is written is
always a plain model in float32.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    BitsAndBytesConfig,
    PreTrainedConfig,
    logging,
)

from led_pipeline.files.errors import InputError
from led_pipeline.models import complete
from led_pipeline.pretrained import model_folder

OPTIONAL_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "albert")  # types that work without one
UNKNOWN = (
    f"name a model of a type that transformers {transformers.__version__} has, with a complete {model_folder.CONFIG}"
)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def read_weights(source: str | Path, settings: Mapping[str, Any], *, trained: bool = False) -> nn.Module:
    """Load the model that a stage's settings need, in float32 unless they say `load_in`.

    It has `origin`, which says what of it is not in the source.

    Args:
        trained: whether a stage is trained from it, so that a head that the source lacks may begin at random, from the
            stage's seed.

    Raises:
        InputError: the model cannot be found or read, it is not of the kind that the settings need, or its weights are
            not all there.
    """
    # Theirs are tables for a terminal; `complete` accounts for every tensor.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = str(source)
    if Path(source).is_dir():
        model_folder.check_model(Path(source))
    model = _complete(source, settings, trained)
    for module in model.modules() if settings.get("load_in") else ():
        module.register_state_dict_post_hook(_without_scales)
    return model


def _complete(source: str, settings: Mapping[str, Any], trained: bool) -> nn.Module:
    """Read a model, by other names if a wrapper has put a prefix before them, and check that it is whole."""
    config = _config(source)
    kind, options = _kind(source, config, settings)
    if type(config) not in kind._model_mapping:
        raise InputError(
            f"model '{source}': transformers has no {kind.__name__} of the type {config.model_type}, which a stage of"
            f" the family {settings['family']} needs here; name a model of another type"
        )
    model, report = _load(kind, source, options, settings)
    base = model.base_model_prefix

    def may_lack(name: str) -> bool:
        return settings["family"] == "dense" and name.startswith("pooler.")

    def may_be_new(name: str) -> bool:
        return trained and _is_new_head(name, base, settings)

    try:
        if prefix := complete.wrapper(report, base, may_lack):
            conversions = getattr(model, "_weight_conversions", None)
            model, report = _load(kind, source, options | {"key_mapping": {f"^{re.escape(prefix)}": ""}}, settings)
            model._weight_conversions = conversions  # or the prefix would be written again
        complete.check(model, report, may_lack, may_be_new)
    except InputError as error:
        raise InputError(f"{_where(source)}: {error}{_advice(settings, trained)}") from error
    lacking = [name for name in report.missing if may_lack(name)]
    if lacking and model.config.model_type in OPTIONAL_POOLER:
        model.pooler = None
    new = [name for name in [*report.missing, *report.mismatched] if name not in lacking]
    model.origin = complete.Origin(source, prefix, new, report.unexpected)
    return model


def _load(
    kind: type, source: str, options: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[nn.Module, complete.Report]:
    with torch.random.fork_rng(devices=[]), model_folder.as_sentences(_where(source), model_folder.AGAIN):
        torch.manual_seed(settings.get("seed") or 0)
        model, info = kind.from_pretrained(
            source, trust_remote_code=False, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    return model, complete.Report.of(info)


def _is_new_head(name: str, base: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a tensor belongs to a head that a stage of such settings trains whole."""
    if _has_classifier(settings):
        return _is_head(name, base)
    trains_head = settings.get("new_head") and not settings.get("lora")
    return settings["family"] == "lexicon" and bool(trains_head) and not name.startswith(f"{base}.")


def _where(source: str) -> str:
    """Return the file that a model's weights are read from, or its name where it is no folder."""
    if not Path(source).is_dir():
        return f"model '{source}'"
    files = model_folder.weight_files(Path(source))
    return str(files[0] if len(files) == 1 else Path(source))


def _advice(settings: Mapping[str, Any], trained: bool) -> str:
    """Return what to do where weights lack something, for a stage of such settings."""
    if _has_classifier(settings) and not trained:
        return "; name a model that was trained as a ranker, or train this stage (train: true), which begins a new head"
    if settings["family"] == "lexicon":
        head = "; name a model that was saved with its masked-LM head"
        if trained and settings.get("lora"):
            return f"{head}, since adapters do not train a new one"
        return head + (", or say new_head: true to train a new one, which takes far longer" if trained else "")
    return "; name the folder that this kind of model was saved into"


def _kind(source: str, config: PreTrainedConfig, settings: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    """Return the class of transformers that reads a stage's model, and how it is called."""
    quantised = _quantisation(source, settings) if settings.get("load_in") else None
    options: dict[str, Any] = {"dtype": "float32"} | ({"quantization_config": quantised} if quantised else {})
    if settings["family"] == "lexicon":
        return AutoModelForMaskedLM, options
    if _has_classifier(settings):
        return AutoModelForSequenceClassification, options | {"num_labels": 1}
    if settings["family"] == "ranker":
        return AutoModelForSeq2SeqLM, options
    return _encoder_kind(source, config, settings), options


def _without_scales(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave the scales of 4-bit weights out of a state: they never change, and bitsandbytes cannot load them again."""
    for key in [key for key in state if key.startswith(f"{prefix}weight.")]:
        del state[key]


def _encoder_kind(source: str, config: PreTrainedConfig, settings: Mapping[str, Any]) -> type:
    """Return what reads any model without a task; of an encoder-decoder its encoder unless the decoder is asked for."""
    decoder = settings.get("encoder_decoder") == "first_decoder_token"
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
    return AutoModelForTextEncoding if encoder_alone and not decoder else AutoModel


def _config(source: str) -> PreTrainedConfig:
    """Return a model's configuration; code of its folder never runs."""
    if Path(source).is_dir():
        what, advice = f"{Path(source, model_folder.CONFIG)}", UNKNOWN
    else:
        what, advice = (
            f"model '{source}': not a local folder with a model, nor reachable on the hub",
            "correct the name",
        )
    with model_folder.as_sentences(what, advice):
        return AutoConfig.from_pretrained(source, trust_remote_code=False)


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
        model = AutoModelForSequenceClassification.from_config(_config(source), trust_remote_code=False)
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

    fresh = read_weights(backbone.adapted_from, dict(settings) | {"load_in": None}, trained=True)
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
