"""Build: the module that a stage's settings describe, with the weights of a folder or of the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from led_pipeline import user_code
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.models import idf, user_files
from led_pipeline.models.backbone import use_attention_within_texts
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.models.limits import check_pooling
from led_pipeline.models.ranker import Ranker
from led_pipeline.models.sides import Pruning, Sides
from led_pipeline.models.true_false import Question, TrueFalseRanker
from led_pipeline.models.weights import add_adapter, read_weights
from led_pipeline.pretrained import model_folder
from led_pipeline.pretrained.model_folder import joined
from led_pipeline.pretrained.tokenizer import load_tokenizer

QUERY = "query"  # the folder of a query encoder inside that of the model
HEAD, OWN = "head.safetensors", "own.safetensors"  # a linear head; what an own encoder has besides its backbone


def build(
    source: str,
    settings: Mapping[str, Any],
    tokenizer: str | Path,
    passages: Sequence[Path] | None = None,
    *,
    trained: bool = False,
) -> nn.Module:
    """Return a model with the weights of `source`.

    Args:
        tokenizer: read only where words or special tokens have to be known.
        passages: the collection's tokens, for a table of weights that is computed from them.
        trained: whether a stage is trained from it; only then may heads begin at random.

    Raises:
        InputError: the settings and what is found do not fit together.
    """
    if settings["family"] == "ranker":
        return _ranker(source, settings, tokenizer, trained)
    own_query = Path(source, QUERY, "config.json").is_file()
    if own_query and not settings.get("untied"):
        raise InputError(f"untied: '{source}' has a query encoder of its own; set untied: true")
    passage, query = _encoder(source, settings, trained), None
    if settings.get("untied"):
        start = str(settings.get("query_init") or source)
        inside = Path(start, QUERY)
        query = _encoder(str(inside) if (inside / "config.json").is_file() else start, settings, trained)
    elif settings.get("query_encoder", "model") != "model":
        query = _bag_of_words(source, settings, tokenizer, passages, passage.backbone.config.vocab_size)
    sides = ("queries", "passages")
    prune = [Pruning(settings.get(f"top_k_{name}"), settings.get(f"prune_ratio_{name}", 0.0)) for name in sides]
    return Sides(passage, query, (prune[0], prune[1])) if query is not None or any(prune) else passage


def _ranker(source: str, settings: Mapping[str, Any], tokenizer: str | Path, trained: bool) -> nn.Module:
    backbone = read_weights(source, settings, trained=trained)
    if settings.get("lora"):
        add_adapter(backbone, source, settings)
    if settings.get("scoring") == "true_false":
        words = (settings[key] for key in ("template", "true_word", "false_word"))
        return TrueFalseRanker(backbone, Question.read(*words, load_tokenizer(tokenizer)))
    return Ranker(backbone)


def _encoder(source: str, settings: Mapping[str, Any], trained: bool) -> nn.Module:
    backbone = read_weights(source, settings, trained=trained)
    if settings.get("lora"):
        add_adapter(backbone, source, settings)
    if settings["family"] == "lexicon":
        activation = settings.get("activation", "log1p")  # a folder made before there was a choice has no such key
        encoder = LexiconEncoder(backbone, keep_special_tokens=settings["keep_special_tokens"], activation=activation)
    elif settings.get("encoder"):
        encoder = _own_encoder(source, settings, backbone)
    else:
        pooling = settings["pooling"]
        check_pooling(backbone, source, pooling)
        pooling = user_files.load("pooling", pooling) if user_code.is_reference(pooling) else pooling
        head = _head(source, settings, backbone, trained)
        encoder = DenseEncoder(backbone, pooling=pooling, normalize=settings["normalize"], head=head)
    encoder.source = source
    return encoder


def _head(source: str, settings: Mapping[str, Any], backbone: nn.Module, trained: bool) -> nn.Linear | None:
    """Return the linear head: that of the source, or one begun from the seed where it is trained."""
    size, file = settings.get("head"), Path(source, HEAD)
    stored = _tensors(file) if file.is_file() else None
    hidden = backbone.config.hidden_size
    if stored is not None:
        shape = tuple(stored["weight"].shape) if stored.keys() == {"weight"} and stored["weight"].dim() == 2 else None
        if shape is None or shape[1] != hidden:
            raise InputError(
                f"{file}: expected one tensor `weight` with {hidden} columns, the hidden size; name another model"
            )
        if size != shape[0]:
            raise InputError(f"head: '{source}' has a linear head of {shape[0]} dimensions; say so")
    elif size is not None and not trained:
        raise InputError(
            f"head: '{source}' has no linear head ({HEAD}), and train: false takes a model as it is; leave this key"
            " out, or train this stage, which begins a new one"
        )
    if size is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.get("seed") or 0)
        head = nn.Linear(hidden, size, bias=False)
    if stored is not None:
        head.load_state_dict(stored)
    else:
        backbone.origin.new.append(f"{HEAD}: weight")
    return head


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    model_folder.check_weights(file)
    with model_folder.as_sentences(str(file), model_folder.AGAIN):
        return load_file(file)


def _own_encoder(source: str, settings: Mapping[str, Any], backbone: nn.Module) -> nn.Module:
    """Make an encoder of the user's class, called with the backbone and the settings."""
    value = settings["encoder"]
    use_attention_within_texts(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.get("seed") or 0)
        encoder = user_files.load("encoder", value)(backbone, dict(settings))
    if not isinstance(encoder, nn.Module) or getattr(encoder, "backbone", None) is not backbone:
        raise InputError(f"encoder: {value} made no torch module that holds the backbone it is given as `backbone`")
    if not isinstance(getattr(encoder, "size", None), int):
        raise InputError(f"encoder: {value} has no attribute `size`, the number of its vectors' dimensions")
    rest = [name for name in encoder.state_dict() if not name.startswith("backbone.")]
    if not (file := Path(source, OWN)).is_file():
        backbone.origin.new.extend(f"{value}: {name}" for name in rest)
        return encoder
    stored = _tensors(file)
    if stored.keys() != set(rest):
        lost, more = (joined(sorted(names)) or "none" for names in (set(rest) - set(stored), set(stored) - set(rest)))
        raise InputError(
            f"{file}: it lacks these tensors of {value}: {lost}; and holds these of other names: {more}; name the"
            " folder that this class was trained into"
        )
    encoder.load_state_dict(stored, strict=False)
    return encoder


def _bag_of_words(
    source: str, settings: Mapping[str, Any], tokenizer: str | Path, passages: Sequence[Path] | None, size: int
) -> nn.Module:
    """Return a query encoder without inference; a table comes from the settings, or else from the source."""
    words = load_tokenizer(tokenizer)
    special = [i for i in words.all_special_ids if i < size]
    if settings["query_encoder"] == "bag_of_words":
        return idf.BagOfWords(torch.ones(size), special, table=False)
    table = settings.get("idf")
    if table == "collection":
        if not passages:
            raise InputError("idf: 'collection' needs the collection's tokens")
        weights = idf.inverse_document_frequencies(TokenStore(passages), size)
    else:
        weights = idf.read_table(Path(table or Path(source, idf.FILE)), words, size)
    return idf.BagOfWords(weights, special, trained=bool(settings.get("idf_trained")))
