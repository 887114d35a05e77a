"""Shapes: the size of a transformer, from its config.json, and what training and inference with it cost.

The estimates take the weights of matrix products as the work per token (2 FLOPs a weight forward, 6 with backward) and
leave out attention between positions, 3 % at 128 tokens of a BERT-base. Of a T5's decoder, which reads one position,
they count the keys and values of every token of the text and leave out the rest, about a hundredth.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from led_pipeline.fetch import hub
from led_pipeline.plan import assumptions
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.stages import Pretrain, Started

Kind = Literal["bert", "distilbert", "gpt2", "llama", "t5"]

# Types of models: FIRST_POSITION in models/backbone.py.
WITHOUT_PADDING: tuple[str, ...] = ("bert", "distilbert", "electra", "roberta", "xlm-roberta", "camembert")
WITHOUT_PADDING += ("modernbert", "modernbert-decoder", "nomic_bert", "eurobert", "llama", "mistral", "qwen2", "qwen3")
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # the first position is that behind the padding's id
T5_TYPES = ("t5", "mt5", "umt5")
T5_BUCKETS = 32  # distances that a T5 has a weight for, per head
NAMES = {  # our name -> those in config.json
    "hidden": ("hidden_size", "dim", "d_model", "n_embd"),
    "layers": ("num_hidden_layers", "n_layers", "num_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_heads", "num_heads", "n_head"),
    "intermediate": ("intermediate_size", "hidden_dim", "d_ff", "n_inner"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings", "n_positions"),
    "head_size": ("head_dim", "d_kv"),
    "kv_heads": ("num_key_value_heads",),
    "decoder_layers": ("num_decoder_layers",),
}
# Linear layers of a transformer layer: queries, keys, values and output of the attention, then the feed-forward part.
LINEAR: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bert": (
        ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        ("intermediate.dense", "output.dense"),
    ),
    "distilbert": (
        ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        ("ffn.lin1", "ffn.lin2"),
    ),
    "gpt2": (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")),
    "llama": (
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    ),
    "t5": (("q", "k", "v", "o"), ("wi_0", "wi_1", "wo")),
}
# What peft puts adapters beside unless told; of a DistilBERT it asks for names.
ADAPTED = {
    "bert": ("query", "value"),
    "gpt2": ("c_attn",),
    "llama": ("q_proj", "v_proj"),
    "t5": ("q", "v"),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of a transformer; those of BERT-base unless known."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30_522
    positions: int = 512
    is_known: bool = False  # read from a config
    kind: Kind = "bert"  # llama: that and its like (Mistral, Qwen, Gemma)
    head_size: int = 0  # units of an attention head; hidden / heads unless given
    kv_heads: int = 0  # heads that keys and values have; as many as heads unless given
    gated: bool = False  # a third matrix in the feed-forward part
    decoder_layers: int = 0  # of a T5 that is read with its decoder
    own_output: bool = False  # T5: output embeddings of their own
    padded: bool = False  # texts of one forward pass are padded to the longest
    stored_bytes: int = 4  # per weight, as published
    longest_text: int | None = None  # tokens that have a position; None: no limit, or not known for this type

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Shape":
        """Read a config.json with the names of its type of model. A key that is missing counts as in BERT-base."""
        values = {field: next((config[k] for k in keys if k in config), None) for field, keys in NAMES.items()}
        sizes = {field: value for field, value in values.items() if isinstance(value, int)}
        type_of = config.get("model_type", "bert")
        t5, llama = type_of in T5_TYPES, "rms_norm_eps" in config
        kind: Kind = "t5" if t5 else "llama" if llama else type_of if type_of in ("gpt2", "distilbert") else "bert"
        if kind == "gpt2":
            sizes.setdefault("intermediate", 4 * sizes.get("hidden", cls.hidden))
        sizes["decoder_layers"] = sizes.get("decoder_layers", sizes.get("layers", cls.layers)) if t5 else 0
        half = any(str(config.get(key, "")).endswith("float16") for key in ("dtype", "torch_dtype"))
        return cls(
            **sizes,
            is_known=True,
            kind=kind,
            gated=llama or str(config.get("feed_forward_proj", "")).startswith("gated") or type_of == "modernbert",
            own_output=t5 and config.get("tie_word_embeddings") is False,
            padded=type_of not in WITHOUT_PADDING,
            stored_bytes=2 if half else 4,
            longest_text=_longest_text(type_of, kind, config) if "positions" in sizes else None,
        )

    @property
    def attention(self) -> int:
        """The width of queries, and of what the attention gives."""
        return self.heads * self.head_size if self.head_size else self.hidden

    @property
    def keys(self) -> int:
        """The width of keys and of values."""
        return self.attention * (self.kv_heads or self.heads) // self.heads

    @property
    def matrices(self) -> int:
        """The weights of one layer's matrix products."""
        feed_forward = (3 if self.gated else 2) * self.hidden * self.intermediate
        return 2 * self.hidden * (self.attention + self.keys) + feed_forward

    @property
    def body(self) -> int:
        """The weights that a token is multiplied with in the layers."""
        return self.layers * self.matrices + self.decoder_layers * 2 * self.hidden * self.attention

    @property
    def linear(self) -> int:
        """The weights of all layers' matrices: those that can be quantised."""
        cross = 4 * self.hidden * self.attention
        return (self.layers + self.decoder_layers) * self.matrices + self.decoder_layers * cross

    @property
    def head(self) -> int:
        """The weights that a masked-LM head multiplies with at every position."""
        return self.hidden**2 + self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All weights: of a masked language model with tied embeddings, or of another kind's model without a task.

        A plain BERT has no masked-LM head, so about `hidden` squared weights less.
        """
        hidden, embeddings = self.hidden, self.vocabulary * self.hidden
        if self.kind == "llama":
            return self.linear + self.layers * 2 * hidden + embeddings + hidden
        if self.kind == "t5":
            norms = self.layers * 2 * hidden + hidden + T5_BUCKETS * self.heads
            if self.decoder_layers:
                norms += self.decoder_layers * 3 * hidden + hidden + T5_BUCKETS * self.heads
            return self.linear + norms + embeddings * (2 if self.own_output else 1)
        layer_vectors = 4 * hidden + self.intermediate + 5 * hidden
        if self.kind == "gpt2":
            return self.linear + self.layers * layer_vectors + embeddings + self.positions * hidden + 2 * hidden
        embeddings += (self.positions + 2) * hidden + 2 * hidden
        head = hidden**2 + 3 * hidden + self.vocabulary
        return self.linear + self.layers * layer_vectors + embeddings + head

    def adapters(self, rank: int, targets: Sequence[str] | None) -> int:
        """Return the weights of low-rank adapters beside the linear layers with some names, as peft matches names."""
        names = targets or ADAPTED.get(self.kind, ())
        return sum(
            rank * (width + height)
            for name, width, height in self._linear_layers()
            if any(f".{name}".endswith(f".{target}") for target in names)
        )

    def _linear_layers(self) -> Iterator[tuple[str, int, int]]:
        """Yield every linear layer's name within its layer, and the sizes of what goes in and comes out."""
        wide, keys, inner = self.attention, self.keys, self.intermediate
        attention, feed_forward = LINEAR[self.kind]
        if self.kind == "t5" and not self.gated:
            feed_forward = ("wi", "wo")
        into = [wide, keys, keys] if self.kind != "gpt2" else [wide + 2 * keys]
        parts = [(name, self.hidden, size) for name, size in zip(attention, into, strict=False)]
        parts.append((attention[-1], wide, self.hidden))
        cross = list(parts)
        parts += [(name, self.hidden, inner) for name in feed_forward[:-1]]
        parts.append((feed_forward[-1], inner, self.hidden))
        yield from parts * (self.layers + self.decoder_layers)
        yield from cross * self.decoder_layers

    def training_flops(self, has_head: bool, frozen: bool = False) -> float:
        """Return FLOPs per token; the gradient of a lexicon's head visits active terms only and is left out.

        Frozen weights have no gradient of their own, which saves a third; the adapters beside them are left out.
        """
        head = self.head if has_head else 0
        each = assumptions.TRAINING_FLOPS - (assumptions.INFERENCE_FLOPS if frozen else 0)
        return each * self.body + assumptions.INFERENCE_FLOPS * head

    def inference_flops(self, has_head: bool) -> float:
        return assumptions.INFERENCE_FLOPS * (self.body + (self.head if has_head else 0))

    def activations(self, tokens: float, length: float, half: bool, checkpointing: bool) -> float:
        """Return the bytes that tokens in texts of some length keep for the gradient.

        With gradient checkpointing a layer keeps what goes into it, and one layer at a time all of it.
        """
        widths = (
            assumptions.LAYER_BYTES_PER_HIDDEN * self.hidden + assumptions.LAYER_BYTES_PER_HEAD_UNIT * self.attention
        )
        widths += assumptions.LAYER_BYTES_PER_KEY_UNIT * self.keys
        widths += assumptions.LAYER_BYTES_PER_INNER * (2 if self.gated else 1) * self.intermediate
        pairs = assumptions.LAYER_BYTES_PER_PAIR * self.heads * length if self.kind == "t5" else 0
        layer = widths + pairs
        per_token = layer + 2 * self.hidden * self.layers if checkpointing else layer * self.layers
        per_token += assumptions.LAYER_BYTES_PER_KEY_UNIT * self.attention * self.decoder_layers
        per_token += assumptions.EMBEDDING_BYTES_PER_HIDDEN * self.hidden
        return per_token * tokens * (1 if half else assumptions.FLOAT32_ACTIVATIONS)


def _longest_text(type_of: str, kind: Kind, config: Mapping[str, Any]) -> int | None:
    """Return the largest number of tokens of a text in a type of models whose positions are a table or computed."""
    most = next(config[key] for key in NAMES["positions"] if key in config)
    if type_of in COUNTED_FROM_PADDING:
        return most - config.get("pad_token_id", 1) - 1
    return most if type_of in WITHOUT_PADDING or kind in ("gpt2", "llama") else None


def root(recipe: Recipe, name: str, queries: bool = False) -> str:
    """Return what the weights of a stage come from in the end: a pretrained stage, a hub id or a folder.

    Args:
        queries: the root of its query encoder instead, if it has one.
    """
    while name in recipe.stages and isinstance(stage := recipe.stages[name], Started):
        query_init = needs.query_init_of(recipe, name) if queries and getattr(stage, "untied", False) else None
        name = query_init or stage.init
    return name


def shape_of(recipe: Recipe, name: str, results: Path, queries: bool = False) -> Shape:
    """Return the shape of a stage's model, or of a hub id or folder, from whatever can be read here without a network.

    Of an encoder-decoder it is the whole one.
    """
    origin = root(recipe, name, queries)
    if isinstance(start := recipe.stages.get(origin), Pretrain):
        sizes = ("hidden", "layers", "heads", "intermediate", "vocabulary", "positions")
        return Shape(**{size: getattr(start, size) for size in sizes}, is_known=True)
    folder = origin if hub.is_local(origin) else Layout(results).hub(origin)
    for path in (Path(folder, "config.json"), hub.cached(origin, "config.json")):
        if path is not None and path.is_file():
            return Shape.from_config(json.loads(path.read_text(encoding="utf-8")))
    return Shape()
