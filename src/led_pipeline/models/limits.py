"""Limits: checks that a stage's texts fit its model: the vocabulary, the positions, and the pooling."""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from led_pipeline.files.errors import InputError
from led_pipeline.models.bi_encoder import BiEncoder, encoders
from led_pipeline.models.complete import origin_of
from led_pipeline.models.encoder import Encoder
from led_pipeline.recipe.representation import RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

# Names of tables of learned or computed positions; relative positions have no table and no limit.
TABLES = ("position_embeddings", "position_embedding", "wpe", "embed_positions", "positions_embed", "pos_embeddings")


def causal(backbone: PreTrainedModel) -> bool:
    """Return whether the tokens of a model see only those before them."""
    config = backbone.config
    if config.is_encoder_decoder or getattr(config, "use_bidirectional_attention", None):
        return False
    decoder = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return decoder or bool(getattr(config, "is_decoder", False))


def check_pooling(backbone: PreTrainedModel, source: str, pooling: object) -> None:
    """Check that the position of a text's vector has seen the text.

    Raises:
        InputError: it is the first position of a causal model.
    """
    if pooling == "cls" and causal(backbone):
        raise InputError(
            f"pooling: '{source}' is a decoder ({backbone.config.model_type}), whose first token (cls) sees no other"
            " one, so that all texts which begin alike would be one vector; write pooling: last, with append_eos: true"
            " if the model was trained so, or pooling: mean"
        )


def positions(backbone: PreTrainedModel) -> int | None:
    """Return the largest number of tokens of a text; None without a limit."""
    sizes = []
    for name, module in backbone.named_modules():
        last = name.rpartition(".")[2]
        if last in TABLES and isinstance(module, nn.Embedding):
            padding = -1 if module.padding_idx is None else module.padding_idx  # RoBERTa begins behind its padding's id
            sizes.append(module.num_embeddings - padding - 1 - getattr(module, "offset", 0))
        elif last == "rotary_emb":
            most = getattr(backbone.config, "max_position_embeddings", None)
            sizes += [most] if isinstance(most, int) and most > 0 else []
    return min(sizes, default=None)


def _readers(model: nn.Module) -> Iterator[tuple[Side, Encoder]]:
    """Yield each side with the encoder that reads its texts, if there is one."""
    query, passage = (model.query or model.passage, model.passage) if isinstance(model, BiEncoder) else (model, model)
    for part in encoders(model):
        if part is query:
            yield "query", part
        if part is passage:
            yield "passage", part


def check_lengths(model: nn.Module, settings: ModelSettings, shared: int) -> None:
    """Check that texts of a stage's full lengths have positions in its model.

    Args:
        shared: tokens that a passage loses behind a query, where both are read together.

    Raises:
        InputError: a length is too large; the message names the key and the largest value that fits.
    """
    if isinstance(settings, RankerRepresentation):
        question = getattr(model, "question", None)
        around = len(question.before) + len(question.between) + len(question.after) if question else -shared
        (ranker,) = encoders(model)
        check_length("query_length + passage_length", settings.query_length + settings.passage_length, around, ranker)
        return
    for side, part in _readers(model):
        check_length(f"{side}_length", settings.length(side), 0, part)


def check_length(key: str, tokens: int, around: int, part: Encoder) -> None:
    """Check that texts of `tokens` tokens and `around` further ones have positions in a model; see `check_lengths`."""
    most = positions(part.backbone)
    if most is not None and tokens + around > most:
        source = origin_of(part.backbone).source
        raise InputError(
            f"{key}: {tokens} tokens do not fit into the {most} positions of '{source}'; write at"
            f" most {most - around}, or name a model that reads longer texts"
        )


def check_vocabulary(model: nn.Module, vocabulary: int, tokenizer: str) -> None:
    """Check that every token of a tokenizer has an embedding in each encoder of a model; more embeddings do no harm.

    Raises:
        InputError: there are more tokens than embeddings; the message names both numbers.
    """
    for part in encoders(model):
        rows = part.backbone.config.get_text_config().vocab_size
        if vocabulary > rows:
            source = origin_of(part.backbone).source
            raise InputError(
                f"tokenizer: '{tokenizer}' has {vocabulary:,} tokens and '{source}' embeddings for"
                f" {rows:,}; name the tokenizer that the model was trained with, or give the model more embeddings"
                " (transformers' resize_token_embeddings) and save it"
            )
