"""Write the files with which sentence-transformers opens a model folder of ours, and say how it opens one.

A folder opens with sentence-transformers' own modules where they compute exactly what the model computes, for any text;
otherwise with `led_modules.py`, a module that is copied into the folder. sentence-transformers runs that only with
`trust_remote_code=True` and refuses the folder without it. No folder is left without modules.json, because
sentence-transformers would open it with mean pooling. Imports no torch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from led_pipeline import user_code
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.pretrained.model_folder_modules import MODULES, SETTINGS
from led_pipeline.recipe.representation import DenseRepresentation, LexiconRepresentation, RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

OLDEST = "6.2.0"  # of sentence-transformers: the first that cuts queries and passages to lengths of their own
CODE = "led_modules.py"
TRANSFORMER, ROUTER = "sentence_bert_config.json", "router_config.json"
QUERY, HEAD, WEIGHTS_OF_QUERIES = "query", "2_Dense", "query_weights"
WITHOUT_TOKENS = "a text without tokens becomes its end token"  # a reason
CLASSES = {"dense": "SentenceTransformer", "lexicon": "SparseEncoder", "ranker": "CrossEncoder"}
POOLINGS = {"cls": "cls", "mean": "mean", "last": "lasttoken"}
ACTIVATIONS = {"log1p": "relu", "log1p_twice": "log1p_relu"}
ENCODERS_ALONE = ("t5", "mt5", "umt5")  # types of encoder-decoders whose encoder sentence-transformers reads alone
SPARSE = "sentence_transformers.sparse_encoder.modules"
BASE = "sentence_transformers.base.modules"
TYPES = {
    "Transformer": f"{BASE}.transformer.Transformer",
    "Router": f"{BASE}.router.Router",
    "Dense": f"{BASE}.dense.Dense",
    "Normalize": f"{BASE}.normalize.Normalize",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "SpladePooling": f"{SPARSE}.splade_pooling.SpladePooling",
    "SparseStaticEmbedding": f"{SPARSE}.sparse_static_embedding.SparseStaticEmbedding",
}


@dataclass(frozen=True)
class Shape:
    """What the files say about a model's configuration."""

    model_type: str
    hidden: int
    """dimensions of a token's vector"""
    vocabulary: int
    """vocabulary entries of the model"""
    tokens: int
    """tokens of its tokenizer"""
    encoder_decoder: bool = False
    """whether the model is the encoder of an encoder-decoder, or all of it"""


def class_of(settings: ModelSettings) -> str:
    """Return the class of sentence-transformers that opens a model."""
    return CLASSES.get(settings.family, CLASSES["dense"])


def has_user_code(settings: ModelSettings) -> bool:
    """Return whether a model needs a file of its author's, written for led_pipeline."""
    return isinstance(settings, DenseRepresentation) and bool(
        settings.encoder or user_code.is_reference(settings.pooling)
    )


def reasons(settings: ModelSettings, shape: Shape, of_tokenizer: Sequence[str] = ()) -> list[str]:
    """Return sentences: why sentence-transformers' own modules cannot compute what a model computes; none if they can.

    Args:
        of_tokenizer: where its tokenizer alone reads texts differently from training.
    """
    return [*_of_texts(settings), *_of_family(settings, shape), *of_tokenizer]


def _of_texts(settings: ModelSettings) -> Iterator[str]:
    if settings.untitled == "empty_title":
        yield "passages without a title begin with [CLS] [SEP] (untitled: empty_title)"
    if settings.passage_prefix:
        yield "a long title is cut without counting the prefix before it (passage_prefix)"
    if settings.title_separator is not None:
        yield f"{settings.title_separator!r} is between title and passage (title_separator)"


def _of_family(settings: ModelSettings, shape: Shape) -> Iterator[str]:
    if isinstance(settings, RankerRepresentation):
        yield "query and passage are cut to lengths of their own (query_length, passage_length)"
        if settings.scoring == "true_false":
            yield "the score is the difference of two words' logits (scoring: true_false)"
    elif isinstance(settings, DenseRepresentation):
        if has_user_code(settings):
            key = "encoder" if settings.encoder else "pooling"
            yield f"its {key} is a file of the author's, which needs led_pipeline ({key})"
        if settings.encoder_decoder == "first_decoder_token":
            yield "the vector is that of the first decoder token (encoder_decoder)"
        elif shape.encoder_decoder and shape.model_type not in ENCODERS_ALONE:
            yield f"it is the encoder of a {shape.model_type} model"
    elif isinstance(settings, LexiconRepresentation):
        if not settings.keep_special_tokens:
            yield "the first and the last token do not count in the maximum (keep_special_tokens: false)"
        if settings.top_k_queries or settings.top_k_passages:
            yield "only the highest weights stay, a number for each side (top_k_queries, top_k_passages)"
        if settings.prune_ratio_queries or settings.prune_ratio_passages:
            yield "low weights are dropped (prune_ratio_queries, prune_ratio_passages)"
        if settings.query_encoder != "model" and shape.vocabulary != shape.tokens:
            yield f"the model has {shape.vocabulary:,} vocabulary entries and its tokenizer {shape.tokens:,} tokens"
    else:
        yield f"the family {settings.family} is read by led_pipeline alone"


def prompt(settings: ModelSettings, side: Side) -> str:
    """Return a prefix as sentence-transformers puts it before a text: with a space between them."""
    text = settings.prefix(side).rstrip(" ")
    return f"{text} " if text else ""


def write(folder: Path, settings: ModelSettings, shape: Shape, why: Sequence[str]) -> None:
    """Write modules.json and the files that it needs, except tensors and `led_modules.py`.

    Args:
        why: the `reasons` for `led_modules.py`; empty: sentence-transformers' own modules.
    """
    _write_json(folder / SETTINGS, _config(settings, why))
    if why:
        _write_modules(folder, [(f"{Path(CODE).stem}.LedModel", "")])
        return
    assert not isinstance(settings, RankerRepresentation), "a ranker always has a reason"
    ends = (
        [(TYPES["Normalize"], "3_Normalize")]
        if isinstance(settings, DenseRepresentation) and settings.normalize
        else []
    )
    parts = _write_parts(folder, settings, shape)
    of_query = {".": QUERY, HEAD: f"{QUERY}/{HEAD}"}
    if settings.untied:
        _write_transformer(folder / QUERY, settings)
        query = {of_query.get(name, name): kind for name, kind in parts.items()}
        if HEAD in parts:
            _write_head(folder / QUERY, settings, shape)
        _write_router(folder, query, parts)
    elif isinstance(settings, LexiconRepresentation) and settings.query_encoder != "model":
        _write_json(folder / WEIGHTS_OF_QUERIES / "config.json", {"frozen": True})
        _write_router(folder, {WEIGHTS_OF_QUERIES: TYPES["SparseStaticEmbedding"]}, parts)
    else:
        names = [(kind, "" if name == "." else name) for name, kind in parts.items()]
        _write_modules(folder, [*names, *ends])
        return
    _write_modules(folder, [(TYPES["Router"], ""), *ends])


def _config(settings: ModelSettings, why: Sequence[str]) -> dict[str, Any]:
    """Return config_sentence_transformers.json; sentence-transformers ignores the key `led`."""
    needs: dict[str, Any] = {"sentence-transformers": f">={OLDEST}"}
    if has_user_code(settings):
        needs["led-pipeline"] = {"specifier": ">=0.1", "reason": "its pooling or encoder is code for led_pipeline"}
    config: dict[str, Any] = {
        "model_type": class_of(settings),
        "__version__": {"sentence_transformers": OLDEST},
        "requirements": needs,
        "led": {"reasons": list(why)},
    }
    if isinstance(settings, RankerRepresentation):
        return config | {"activation_fn": "torch.nn.modules.linear.Identity", "prompts": {}}
    unit = isinstance(settings, DenseRepresentation) and settings.normalize
    config["prompts"] = {"query": prompt(settings, "query"), "document": prompt(settings, "passage")}
    config["default_prompt_name"] = "document" if settings.passage_prefix else None
    return config | {"similarity_fn_name": "cosine" if unit else "dot"}


def _write_modules(folder: Path, modules: Sequence[tuple[str, str]]) -> None:
    entries = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(modules)]
    _write_json(folder / MODULES, entries)


def _write_parts(folder: Path, settings: ModelSettings, shape: Shape) -> dict[str, str]:
    """Write the configurations of a passage encoder's modules; return the type of each by its folder."""
    _write_transformer(folder, settings)
    parts = {".": TYPES["Transformer"]}
    if isinstance(settings, LexiconRepresentation):
        activation = ACTIVATIONS[settings.activation]
        values = {"pooling_strategy": "max", "activation_function": activation, "embedding_dimension": shape.vocabulary}
        _write_json(folder / "1_SpladePooling" / "config.json", values)
        return parts | {"1_SpladePooling": TYPES["SpladePooling"]}
    assert isinstance(settings, DenseRepresentation), settings.family
    values = {"embedding_dimension": shape.hidden, "pooling_mode": POOLINGS[settings.pooling], "include_prompt": True}
    _write_json(folder / "1_Pooling" / "config.json", values)
    parts["1_Pooling"] = TYPES["Pooling"]
    if settings.head:
        _write_head(folder, settings, shape)
        parts[HEAD] = TYPES["Dense"]
    return parts


def _write_transformer(folder: Path, settings: ModelSettings) -> None:
    task = "fill-mask" if isinstance(settings, LexiconRepresentation) else "feature-extraction"
    lengths = {"query_length": settings.query_length, "document_length": settings.passage_length}
    _write_json(folder / TRANSFORMER, {"transformer_task": task, "max_seq_length": settings.passage_length, **lengths})


def _write_head(folder: Path, settings: ModelSettings, shape: Shape) -> None:
    assert isinstance(settings, DenseRepresentation), settings.family
    values: dict[str, Any] = {"in_features": shape.hidden, "out_features": settings.head, "bias": False}
    values["activation_function"] = "torch.nn.modules.linear.Identity"
    _write_json(folder / HEAD / "config.json", values)


def _write_router(folder: Path, query: dict[str, str], passage: dict[str, str]) -> None:
    structure = {"query": list(query), "document": list(passage)}
    parameters = {"default_route": "document", "allow_empty_key": True, "route_mappings": {}}
    _write_json(folder / ROUTER, {"types": query | passage, "structure": structure, "parameters": parameters})


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def reasons_of(folder: Path) -> list[str] | None:
    """Return why a folder of ours needs its own code in sentence-transformers (`reasons`).

    None: it was written by an older version, and sentence-transformers would open it wrongly.

    Raises:
        InputError: its file is damaged.
    """
    if not (folder / MODULES).is_file() or not (folder / SETTINGS).is_file():
        return None
    config = read_json(folder / SETTINGS)
    ours = config.get("led") if isinstance(config, dict) else None
    why = ours.get("reasons") if isinstance(ours, dict) else None
    if not isinstance(why, list):
        raise InputError(f"{folder / SETTINGS}: led.reasons: expected a list of sentences; write this folder again")
    return [str(reason) for reason in why]
