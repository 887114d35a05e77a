"""Build: the module that a stage's settings describe, with the weights of a folder or of the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from led_pipeline import user_code
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.models import idf, user_files
from led_pipeline.models.adapters import add_adapter
from led_pipeline.models.backbone import use_attention_within_texts
from led_pipeline.models.bi_encoder import BiEncoder, Pruning
from led_pipeline.models.complete import origin_of
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.encoder import Encoder
from led_pipeline.models.heads import head_of, tensors_of
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.models.limits import check_pooling
from led_pipeline.models.ranker import Ranker
from led_pipeline.models.true_false import Question, TrueFalseRanker
from led_pipeline.models.weights import read_weights, seed_of
from led_pipeline.pretrained.model_folder import joined
from led_pipeline.pretrained.model_folder_modules import stored_table
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.representation import (
    DenseRepresentation,
    LexiconRepresentation,
    LexiconStart,
    RankerRepresentation,
)
from led_pipeline.recipe.settings import LexiconOptimisation
from led_pipeline.recipe.step_settings import ModelSettings, RetrieverSettings

QUERY = "query"  # the folder of a query encoder inside that of the model
USER_TENSORS = "own.safetensors"  # a user's encoder without its backbone


def build(
    source: str,
    settings: ModelSettings,
    tokenizer: str | Path,
    passages: Sequence[Path] | None = None,
    query_init: str | None = None,
) -> nn.Module:
    """Return a model with the weights of `source`.

    Args:
        settings: heads may begin at random only with those of a training.
        tokenizer: read only if the model needs words or special tokens.
        passages: the collection's tokens, for a table of weights that is computed from them.
        query_init: what an untied query encoder starts from, unless it is `source`.

    Raises:
        InputError: the settings do not fit the source.
    """
    if isinstance(settings, RankerRepresentation):
        return _ranker(source, settings, tokenizer)
    if Path(source, QUERY, "config.json").is_file() and not settings.untied:
        raise InputError(f"untied: '{source}' has a query encoder of its own; set untied: true")
    passage = _encoder(source, settings)
    query = _query_encoder(source, settings, tokenizer, passages, query_init, passage)
    prune_queries, prune_passages = Pruning(), Pruning()
    if isinstance(settings, LexiconRepresentation):
        prune_queries = Pruning(settings.top_k_queries, settings.prune_ratio_queries)
        prune_passages = Pruning(settings.top_k_passages, settings.prune_ratio_passages)
    if query is None and not prune_queries and not prune_passages:
        return passage
    return BiEncoder(passage, query, (prune_queries, prune_passages))


def _query_encoder(
    source: str,
    settings: RetrieverSettings,
    tokenizer: str | Path,
    passages: Sequence[Path] | None,
    query_init: str | None,
    passage: Encoder,
) -> nn.Module | None:
    """Return the query encoder; None if it is the passage encoder."""
    if settings.untied:
        start = query_init or source
        inside = Path(start, QUERY)
        return _encoder(str(inside) if (inside / "config.json").is_file() else start, settings)
    if isinstance(settings, LexiconRepresentation) and settings.query_encoder != "model":
        return _bag_of_words(source, settings, tokenizer, passages, passage.backbone.config.vocab_size)
    return None


def _backbone(source: str, settings: ModelSettings) -> PreTrainedModel:
    backbone = read_weights(source, settings)
    add_adapter(backbone, source, settings)
    return backbone


def _ranker(source: str, settings: RankerRepresentation, tokenizer: str | Path) -> Encoder:
    backbone = _backbone(source, settings)
    if settings.scoring == "true_false":
        words = settings.template, settings.true_word, settings.false_word
        return TrueFalseRanker(backbone, Question.read(*words, load_tokenizer(tokenizer)))
    return Ranker(backbone)


def _encoder(source: str, settings: RetrieverSettings) -> Encoder:
    backbone = _backbone(source, settings)
    if isinstance(settings, LexiconRepresentation):
        special = settings.keep_special_tokens
        return LexiconEncoder(backbone, keep_special_tokens=special, activation=settings.activation)
    if settings.encoder:
        return _user_encoder(source, settings, settings.encoder, backbone)
    check_pooling(backbone, source, settings.pooling)
    reference = user_code.is_reference(settings.pooling)
    pooling = user_files.load("pooling", settings.pooling) if reference else settings.pooling
    head = head_of(source, settings, backbone)
    return DenseEncoder(backbone, pooling=pooling, normalize=settings.normalize, head=head)


def _user_encoder(source: str, settings: DenseRepresentation, value: str, backbone: PreTrainedModel) -> Encoder:
    """Make an encoder of the user's class, called with the backbone and the settings as a dictionary."""
    use_attention_within_texts(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings))
        encoder = user_files.load("encoder", value)(backbone, settings.model_dump(mode="json"))
    if not isinstance(encoder, nn.Module) or getattr(encoder, "backbone", None) is not backbone:
        raise InputError(f"encoder: {value} is not a torch module that keeps its first argument as `self.backbone`")
    if not isinstance(getattr(encoder, "size", None), int):
        raise InputError(f"encoder: {value} has no attribute `size`, the number of its vectors' dimensions")
    rest = [name for name in encoder.state_dict() if not name.startswith("backbone.")]
    if not (file := Path(source, USER_TENSORS)).is_file():
        origin_of(backbone).new.extend(f"{value}: {name}" for name in rest)
        return cast(Encoder, encoder)
    stored = tensors_of(file)
    if stored.keys() != set(rest):
        lost, more = (joined(sorted(names)) or "none" for names in (set(rest) - set(stored), set(stored) - set(rest)))
        raise InputError(
            f"{file}: it lacks these tensors of {value}: {lost}; and holds these of other names: {more}; name the"
            " folder that this class was trained into"
        )
    encoder.load_state_dict(stored, strict=False)
    return cast(Encoder, encoder)


def _table(source: str, table: str | None, words: PreTrainedTokenizerBase, size: int) -> torch.Tensor:
    """Return a table of query weights: that of the recipe, or else the source's own."""
    if table is None and not Path(source, idf.FILE).is_file() and (path := stored_table(Path(source))):
        return idf.checked_weights(tensors_of(path), path, size)
    return idf.read_table(Path(table or Path(source, idf.FILE)), words, size)


def _bag_of_words(
    source: str, settings: LexiconRepresentation, tokenizer: str | Path, passages: Sequence[Path] | None, size: int
) -> nn.Module:
    """Return a query encoder without inference; a table comes from the settings, or else from the source."""
    words = load_tokenizer(tokenizer)
    special = [i for i in words.all_special_ids if i < size]
    if settings.query_encoder == "bag_of_words":
        return idf.BagOfWords(torch.ones(size), special, table=False)
    table = settings.idf if isinstance(settings, LexiconStart) else None
    if table == "collection":
        if not passages:
            raise InputError("idf: 'collection' needs the collection's tokens")
        weights = idf.inverse_document_frequencies(TokenStore(passages), size)
    else:
        weights = _table(source, table, words, size)
    return idf.BagOfWords(weights, special, trained=isinstance(settings, LexiconOptimisation) and settings.idf_trained)
