"""Weights: Hugging Face models from a folder or the hub, in float32 or quantised."""

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
    PreTrainedModel,
)
from transformers.utils import logging

from led_pipeline.files.errors import InputError
from led_pipeline.models import complete
from led_pipeline.pretrained import model_folder
from led_pipeline.recipe.representation import DenseRepresentation, LexiconRepresentation, RankerRepresentation
from led_pipeline.recipe.settings import LexiconOptimisation, Optimisation, Seeded
from led_pipeline.recipe.step_settings import MaskedLmTraining, ModelSettings

OPTIONAL_POOLER = ("bert", "roberta", "xlm-roberta", "camembert", "albert")  # types that work without one
UNKNOWN = (
    f"name a model of a type that transformers {transformers.__version__} has, with a complete {model_folder.CONFIG}"
)
# What models are read for: those of stages that rank, and masked language models in training.
WeightSettings = ModelSettings | MaskedLmTraining
MASKED_LM = (LexiconRepresentation, MaskedLmTraining)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def seed_of(settings: WeightSettings) -> int:
    """Return the seed of what begins at random: that of a training."""
    return (settings.seed or 0) if isinstance(settings, Seeded) else 0


def read_weights(source: str | Path, settings: WeightSettings) -> PreTrainedModel:
    """Load the model that a stage's settings need, in float32 unless they say `load_in`.

    Its attribute `origin` names the tensors that are not from the source. Only a head that is trained (settings with
    `Optimisation`) may begin at random, from the stage's seed, where the source lacks it.

    Raises:
        InputError: the model cannot be found or read, it is not of the kind that the settings need, or its weights are
            not all there.
    """
    # transformers' reports are tables for a terminal; `complete` accounts for every tensor.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = str(source)
    if Path(source).is_dir():
        model_folder.check_model(Path(source))
    model = _complete(source, settings)
    for module in model.modules() if _load_in(settings) else ():
        module.register_state_dict_post_hook(_without_scales)
    return model


def _load_in(settings: WeightSettings) -> str | None:
    return settings.load_in if isinstance(settings, Optimisation) else None


def _complete(source: str, settings: WeightSettings) -> PreTrainedModel:
    """Read a model, without the prefix that a wrapper may have put before its names, and check that it is complete."""
    config = _config(source)
    kind, options = _kind(source, config, settings)
    if type(config) not in kind._model_mapping:
        raise InputError(
            f"model '{source}': transformers has no {kind.__name__} of the type {config.model_type}, which a stage of"
            f" the family {settings.family} needs here; name a model of another type"
        )
    model, report = _load(kind, source, options, settings)
    base = model.base_model_prefix

    def may_lack(name: str) -> bool:
        without_head = not isinstance(settings, (*MASKED_LM, RankerRepresentation))
        return without_head and name.startswith("pooler.")

    def may_be_new(name: str) -> bool:
        return isinstance(settings, Optimisation) and _is_new_head(name, base, settings)

    try:
        if prefix := complete.wrapper(report, base, may_lack):
            conversions = getattr(model, "_weight_conversions", None)
            model, report = _load(kind, source, options | {"key_mapping": {f"^{re.escape(prefix)}": ""}}, settings)
            vars(model)["_weight_conversions"] = conversions  # or the prefix would be written again
        complete.check(model, report, may_lack, may_be_new)
    except InputError as error:
        raise InputError(f"{_where(source)}: {error}{_advice(settings)}") from error
    lacking = [name for name in report.missing if may_lack(name)]
    if lacking and model.config.model_type in OPTIONAL_POOLER:
        setattr(model, "pooler", None)  # noqa: B010  # it is a module, which mypy takes from being None
    new = [name for name in [*report.missing, *report.mismatched] if name not in lacking]
    vars(model)["origin"] = complete.Origin(source, prefix, new, report.unexpected)
    return model


def _load(
    kind: Any, source: str, options: Mapping[str, Any], settings: WeightSettings
) -> tuple[PreTrainedModel, complete.Report]:
    with torch.random.fork_rng(devices=[]), model_folder.as_sentences(_where(source), model_folder.AGAIN):
        torch.manual_seed(seed_of(settings))
        model, info = kind.from_pretrained(
            source, trust_remote_code=False, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    return model, complete.Report.of(info)


def _is_new_head(name: str, base: str, settings: WeightSettings) -> bool:
    """Return whether a tensor belongs to a head that a stage with these settings trains whole."""
    if has_classifier(settings):
        return is_head(name, base)
    trains_head = isinstance(settings, LexiconOptimisation) and settings.new_head and not settings.lora
    return trains_head and not name.startswith(f"{base}.")


def _where(source: str) -> str:
    """Return the file that a model's weights are read from, or its name where it is no folder."""
    if not Path(source).is_dir():
        return f"model '{source}'"
    files = model_folder.weight_files(Path(source))
    return str(files[0] if len(files) == 1 else Path(source))


def _advice(settings: WeightSettings) -> str:
    """Return what the user can do about missing weights."""
    training = settings if isinstance(settings, Optimisation) else None
    if has_classifier(settings) and not training:
        return "; name a model that was trained as a ranker, or train this stage (train: true), which begins a new head"
    if isinstance(settings, MASKED_LM):
        head = "; name a model that was saved with its masked-LM head"
        if training and training.lora:
            return f"{head}, since adapters do not train a new one"
        new = ", or say new_head: true to train a new one, which takes far longer"
        return head + (new if isinstance(training, LexiconOptimisation) else "")
    return "; name the folder that this kind of model was saved into"


def _kind(source: str, config: PreTrainedConfig, settings: WeightSettings) -> tuple[Any, dict[str, Any]]:
    """Return the class of transformers that reads a stage's model, and the arguments of its from_pretrained."""
    quantised = _quantisation(source, settings) if _load_in(settings) else None
    options: dict[str, Any] = {"dtype": "float32"} | ({"quantization_config": quantised} if quantised else {})
    if isinstance(settings, MASKED_LM):
        return AutoModelForMaskedLM, options
    if has_classifier(settings):
        return AutoModelForSequenceClassification, options | {"num_labels": 1}
    if isinstance(settings, RankerRepresentation):
        return AutoModelForSeq2SeqLM, options
    decoder = isinstance(settings, DenseRepresentation) and settings.encoder_decoder == "first_decoder_token"
    return _encoder_kind(source, config, decoder), options


def _without_scales(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave the scales of 4-bit weights out of a state: they are constant, and bitsandbytes cannot load them."""
    for key in [key for key in state if key.startswith(f"{prefix}weight.")]:
        del state[key]


def _encoder_kind(source: str, config: PreTrainedConfig, decoder: bool) -> Any:
    """Return the class that reads a model without a task: of an encoder-decoder its encoder, or all of it."""
    encoders: Any = AutoModelForTextEncoding._model_mapping
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
    """Return a model's configuration; code in its folder never runs."""
    if Path(source).is_dir():
        where, advice = f"{Path(source, model_folder.CONFIG)}", UNKNOWN
    else:
        where, advice = (
            f"model '{source}': not a local folder with a model, nor reachable on the hub",
            "correct the name",
        )
    with model_folder.as_sentences(where, advice):
        return AutoConfig.from_pretrained(source, trust_remote_code=False)


def _quantisation(source: str, settings: WeightSettings) -> BitsAndBytesConfig:
    """Return how bitsandbytes holds the weights; modules that are trained besides adapters are not quantised."""
    load_in = _load_in(settings)
    precision = settings.precision if isinstance(settings, Optimisation) else "float32"
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"load_in: {load_in} needs bitsandbytes, which is not installed; pip install bitsandbytes, or leave this"
            " key out"
        )
    skipped = _learning_modules(source) if has_classifier(settings) else None
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=HALVES.get(precision, torch.float32),
        llm_int8_skip_modules=skipped,
    )


def has_classifier(settings: WeightSettings) -> bool:
    """Return whether a model is a sequence classifier with one logit."""
    return isinstance(settings, RankerRepresentation) and settings.scoring != "true_false"


def _learning_modules(source: str) -> list[str]:
    """Return the modules of a sequence classifier that are trained whole, besides adapters: its head and its pooler."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(_config(source), trust_remote_code=False)
    names = [name for name, _ in model.named_modules()]
    return [name for name in names if name and is_head(name, model.base_model_prefix)]


def is_head(name: str, base: str) -> bool:
    """Return whether a tensor or module belongs to a head or a pooler; `base` is the prefix of the model's body."""
    return not f"{name}.".startswith(f"{base}.") or ".pooler." in f"{name}."
