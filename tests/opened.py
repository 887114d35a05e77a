"""What a model folder of ours computes, by our own commands' functions, for comparison with other libraries."""

from functools import cache
from pathlib import Path

import numpy as np
import tiny
import torch

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore
from led_pipeline.inference import batches
from led_pipeline.models import saved_model
from led_pipeline.models.bi_encoder import encoder_of

CPU = torch.device("cpu")
Text = str | tuple[str, str]  # a text, or a title and a text


load = cache(saved_model.load)


def store(folder: Path, texts: list[Text], side: str, scratch: Path) -> TokenStore:
    """Tokenise texts with a folder's tokenizer and return the store as its stage reads it."""
    _, settings = load(folder)
    columns = {"text": [text if isinstance(text, str) else text[1] for text in texts]}
    if side == "passage":
        columns["title"] = ["" if isinstance(text, str) else text[0] for text in texts]
    tiny.save_store(scratch / f"{side}.arrow", folder, columns)
    return with_prefix(TokenStore.for_stage([scratch / f"{side}.arrow"], settings), side, str(folder), settings)


def vectors(folder: Path, texts: list[Text], side: str, scratch: Path) -> np.ndarray:
    """Return a retriever's float32 vectors of texts of one side."""
    model, settings = load(folder)
    rows = {}

    def keep(group, result):
        rows.update(zip(group.tolist(), result.float().numpy(), strict=True))

    encoder = encoder_of(model.eval(), side)
    tokens = store(folder, texts, side, scratch)
    batches.encode(encoder, tokens, np.arange(len(texts)), settings.length(side), CPU, keep, "float32")
    return np.stack([rows[i] for i in range(len(texts))])


def scores(folder: Path, pairs: list[tuple[str, Text]], scratch: Path) -> np.ndarray:
    """Return a ranker's scores of pairs."""
    model, settings = load(folder)
    queries = store(folder, [query for query, _ in pairs], "query", scratch)
    passages = store(folder, [passage for _, passage in pairs], "passage", scratch)
    rows = np.arange(len(pairs), dtype=np.int32)
    return batches.score(model.eval(), queries, passages, (rows, rows), settings, CPU, "float32")
