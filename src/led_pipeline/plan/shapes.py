"""Shapes: the size of a model, from its config.json, and what training and inference with it cost.

The estimates take the weights of matrix products as the work per token (2 FLOPs a weight forward, 6 with backward) and
leave out attention between positions, 3 % at 128 tokens of a BERT-base.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from led_pipeline import hub
from led_pipeline.plan import assumptions as given
from led_pipeline.recipe import Recipe
from led_pipeline.recipe_stages import Pretrain, Trained


@dataclass(frozen=True)
class Shape:
    """The sizes of a BERT-like encoder; those of BERT-base unless known."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30_522
    positions: int = 512
    known: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Shape":
        """Read a config.json; DistilBERT has names of its own. A key that is missing counts as in BERT-base."""
        names = {
            "hidden": ("hidden_size", "dim"),
            "layers": ("num_hidden_layers", "n_layers"),
            "heads": ("num_attention_heads", "n_heads"),
            "intermediate": ("intermediate_size", "hidden_dim"),
            "vocabulary": ("vocab_size",),
            "positions": ("max_position_embeddings",),
        }
        found = {field: next((config[k] for k in keys if k in config), None) for field, keys in names.items()}
        return cls(**{field: value for field, value in found.items() if isinstance(value, int)}, known=True)

    @property
    def body(self) -> int:
        """The weights of the layers' matrix products."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    @property
    def head(self) -> int:
        """The weights that a masked-LM head multiplies with at every position."""
        return self.hidden**2 + self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All weights of a masked language model with tied embeddings; that of a plain encoder lies 2 % lower."""
        layer_vectors = 4 * self.hidden + self.intermediate + 5 * self.hidden
        embeddings = (self.vocabulary + self.positions + 2) * self.hidden + 2 * self.hidden
        head = self.hidden**2 + 3 * self.hidden + self.vocabulary
        return self.body + self.layers * layer_vectors + embeddings + head

    def training_flops(self, family: str) -> float:
        """Return FLOPs per token; the gradient of a lexicon's head visits active terms only and is left out."""
        head = self.head if family == "lexicon" else 0
        return given.TRAINING_FLOPS * self.body + given.INFERENCE_FLOPS * head

    def inference_flops(self, family: str) -> float:
        return given.INFERENCE_FLOPS * (self.body + (self.head if family == "lexicon" else 0))

    def training_memory(self, family: str, tokens: int, length: int, half: bool) -> float:
        """Return the bytes on each GPU for `tokens` padded tokens of texts of `length`; float32 takes twice as much."""
        layer = given.LAYER_BYTES_PER_UNIT * self.hidden + given.LAYER_BYTES_PER_PAIR * self.heads * length
        activations = self.layers * layer * tokens * (1 if half else 2)
        logits = 3 * given.LOGIT_BYTES if family == "lexicon" else 0
        return given.TRAINING_BYTES * self.parameters + activations + logits + given.GPU_RESERVE

    def inference_memory(self, family: str) -> float:
        batch = given.INFERENCE_TOKENS * given.INFERENCE_BYTES_PER_UNIT * max(self.intermediate, self.hidden) / 2
        logits = 3 * given.LOGIT_BYTES if family == "lexicon" else 0
        return 4 * self.parameters + batch + logits + given.GPU_RESERVE


def root(recipe: Recipe, name: str) -> str:
    """Return what the weights of a stage come from in the end: a pretrained stage, a hub id or a folder."""
    while name in recipe.stages and isinstance(recipe.stages[name], Trained):
        name = recipe.stages[name].init
    return name


def shape_of(recipe: Recipe, stage: str, results: Path) -> Shape:
    """Return the shape of a stage's model, from whatever can be read here without a network."""
    origin = root(recipe, stage)
    if isinstance(start := recipe.stages.get(origin), Pretrain):
        sizes = ("hidden", "layers", "heads", "intermediate", "vocabulary", "positions")
        return Shape(**{size: getattr(start, size) for size in sizes}, known=True)
    folders = [Path(origin)] if hub.is_local(origin) else [hub.folder(results, origin)]
    for path in [*(folder / "config.json" for folder in folders), hub.cached(origin, "config.json")]:
        if path is not None and path.is_file():
            return Shape.from_config(json.loads(path.read_text(encoding="utf-8")))
    return Shape()
