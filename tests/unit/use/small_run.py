"""A finished run with every kind of stage, made without Snakemake: tiny models with fixed weights, and their files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from torch import nn

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.same_text import with_contents
from led_pipeline.data.tables import CONTENT, write_arrow, write_matrix, write_strings
from led_pipeline.data.tokens import TokenStore, tokenise
from led_pipeline.files import folder_names
from led_pipeline.inference.encode import dense_rows, sparse_rows
from led_pipeline.models import saved_model
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.recipe.layout import Layout

PASSAGES, SHARDS, MAX_TOKENS, QUANTISATION = 90, 2, 24, 50
TOKENIZER = "words/tokenizer"  # relative to the folder with results/
TITLES = [title if row % 3 else "" for row, title in enumerate(tiny.texts(PASSAGES, 4, seed=1))]
TEXTS = tiny.texts(PASSAGES, 30, seed=2)
# Ordinary queries and traps: longer than max_tokens, white space around, unknown signs, control characters.
QUERIES = [
    *tiny.texts(12, 10, seed=3),
    " ".join("abcdefghij" * 6),
    "  a  b ",
    "a\tb\x00c",
    "q ? z !",
    "\u00e4 \u6f22 a",
]
LENGTHS = {"query_length": 12, "passage_length": 20}
REPRESENTATION: dict[str, dict[str, Any]] = {
    "den": {"family": "dense", "pooling": "mean", "normalize": True, "query_prefix": "q :", "passage_prefix": "p :"},
    "untied": {"family": "dense", "untied": True},
    "lex": {"family": "lexicon", "top_k_queries": 9},
    "bag": {"family": "lexicon", "query_encoder": "bag_of_words"},
    "judge": {"family": "ranker", "query_prefix": "j"},
}
OTHER_KEYS: dict[str, dict[str, Any]] = {
    "lex": {"quantisation": QUANTISATION},
    "judge": {"rerank": {"system": "den", "depth": 7}},
}


def config() -> dict[str, Any]:
    """Return the recipe of the run."""
    keys = {"init": "words/start", "train": False, **LENGTHS}
    stages = {name: {**keys, **values, **OTHER_KEYS.get(name, {})} for name, values in REPRESENTATION.items()}
    dataset = {"name": "small", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}}
    dataset |= {"max_tokens": MAX_TOKENS, "shards": SHARDS}
    return {"dataset": dataset, "tokenizer": TOKENIZER, "evaluation": {"depth": 20}, "stages": stages}


def write_run(folder: Path) -> Path:
    """Write the run below a folder and return its results; BM25 and the lexicon stages have no index."""
    layout, tokenizer = Layout(folder / "results" / "small"), folder / TOKENIZER
    tiny.save_tokenizer(tokenizer)
    passages = {"id": [f"p{row}" for row in range(PASSAGES)], "title": TITLES, "text": TEXTS}
    write_strings(layout.passages, [with_contents(passages)], ["id", "title", "text", CONTENT])
    write_strings(
        layout.queries("dev"), [{"id": [f"q{row}" for row in range(len(QUERIES))], "text": QUERIES}], ["id", "text"]
    )
    tokens = folder_names.of_tokenizer(TOKENIZER, REPRESENTATION, local=True)
    for shard in range(SHARDS):
        out = Path(layout.passage_tokens(tokens, shard))
        tokenise(Path(layout.passages), str(tokenizer), MAX_TOKENS, shard, SHARDS, out)
    tokenise(Path(layout.queries("dev")), str(tokenizer), MAX_TOKENS, 0, 1, Path(layout.query_tokens(tokens, "dev")))
    for name in REPRESENTATION:
        model = _save_model(layout, name, tokenizer, folder / "words" / f"start.{name}")
        _save_vectors(layout, name, model, tokens)
    Path(layout.resolved_recipe).parent.mkdir()
    Path(layout.resolved_recipe).write_text(json.dumps(config()))
    return Path(layout.root)


def _save_model(layout: Layout, name: str, tokenizer: Path, start: Path) -> nn.Module:
    keys = dict(REPRESENTATION[name])
    family = keys.pop("family")
    settings = tiny.import_settings(family, **LENGTHS | keys)
    tiny.backbone(family, seed=len(name)).save_pretrained(start)
    tiny.backbone(family, seed=9).save_pretrained(start / "another")
    query_init = str(start / "another") if keys.get("untied") else None
    model = tiny.start(start, settings, tokenizer, query_init=query_init)
    out = Path(layout.model(name))
    out.mkdir(parents=True)
    saved_model.save(model, settings, tokenizer, out)
    return model.eval()


def _save_vectors(layout: Layout, name: str, model: nn.Module, tokens: str) -> None:
    """Encode the passages and the queries of the split, each file at once."""
    folder = Path(layout.model(name))
    settings = saved_model.load(folder)[1]
    parts = {f"passages.{shard}": layout.passage_tokens(tokens, shard) for shard in range(SHARDS)}
    for part, path in {**parts, "dev": layout.query_tokens(tokens, "dev")}.items():
        side = "query" if part == "dev" else "passage"
        if settings.family == "ranker":
            continue
        store = with_prefix(TokenStore.for_stage([path], settings), side, str(folder), settings)
        texts = encoder_of(model, side), store, np.arange(len(store)), settings.length(side), torch.device("cpu")
        out = Path(layout.root, "vectors", name, part)
        if settings.family == "dense":
            write_matrix(out.with_name(f"{part}.npy"), dense_rows(*texts))
        else:
            write_arrow(out.with_name(f"{part}.arrow"), sparse_rows(*texts))
