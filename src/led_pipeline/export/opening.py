"""Opening: prove that sentence-transformers computes from a model folder what we compute from it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Columns
from led_pipeline.data.tokeniser import Tokeniser
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load
from led_pipeline.pretrained.sentence_transformers_files import class_of, reasons_of
from led_pipeline.recipe.representation import RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

CPU = torch.device("cpu")
QUERIES = ["read a file line by line", "heap queue", "", "1 + 1 = 2?"]
LONG = "The quick brown fox, which is é and 7 years old, jumps over the lazy dog. " * 60
PASSAGES = [("", "Open a file and return its lines."), ("heapq", "A heap queue."), ("", LONG), (LONG, LONG)]
LARGEST = 1e-3  # relative to the largest value; other pooling or cutting differs by far more


def check_opens(folder: Path) -> None:
    """Compare what sentence-transformers computes from a folder with what we compute.

    Raises:
        InputError: sentence-transformers is not installed, cannot open the folder, or computes something else.
    """
    if find_spec("sentence_transformers") is None:
        raise InputError(
            "led push opens a model with sentence-transformers before it uploads it; pip install"
            " 'sentence-transformers>=6.2'"
        )
    model, settings = load(folder)
    stores = {side: _store(folder, settings, side) for side in SIDES}
    ours = _ours(model.eval(), settings, stores)
    result = _in_sentence_transformers(folder, settings)
    for name, expected in ours.items():
        got = result[name]
        if got.shape != expected.shape or not np.isfinite(got).all():
            raise InputError(f"{folder}: sentence-transformers gives {name} of another shape; it is not uploaded")
        difference = float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
        if difference > LARGEST:
            raise InputError(
                f"{folder}: sentence-transformers computes other {name} than led_pipeline (relative difference"
                f" {difference:.2g}), so it is not uploaded; remove modules.json from the model's folder to write its"
                " files again, or train the stage again"
            )


SIDES: tuple[Side, ...] = ("query", "passage")


def _store(folder: Path, settings: ModelSettings, side: Side) -> TokenStore:
    """Return the probes of one side as token ids."""
    tokeniser = Tokeniser(str(folder), settings.length(side))
    columns, metadata = tokeniser(QUERIES if side == "query" else [text for _, text in PASSAGES])
    if side == "passage":
        titles = Ragged.joined(list(tokeniser.parts([title for title, _ in PASSAGES])), tokeniser.dtype)
        columns = Columns({**columns, "title": titles})
    return with_prefix(TokenStore.for_stage([(columns, metadata)], settings), side, str(folder), settings)


def _ours(model: nn.Module, settings: ModelSettings, stores: dict[Side, TokenStore]) -> dict[str, NDArray]:
    if isinstance(settings, RankerRepresentation):
        rows = np.arange(len(QUERIES), dtype=np.int32)
        scores = batches.score(model, stores["query"], stores["passage"], (rows, rows), settings, CPU, "float32")
        return {"scores": scores}
    vectors = {}
    for side, store in stores.items():
        rows_of: dict[int, NDArray] = {}

        def keep(group: NDArray[np.int64], result: Tensor, rows_of: dict[int, NDArray] = rows_of) -> None:
            rows_of.update(zip(group.tolist(), result.float().numpy(), strict=True))

        encoder, count = encoder_of(model, side), np.arange(len(store))
        batches.encode(encoder, store, count, settings.length(side), CPU, keep, "float32")
        vectors[f"{side} vectors"] = np.stack([rows_of[i] for i in range(len(store))])
    return vectors


def _in_sentence_transformers(folder: Path, settings: ModelSettings) -> dict[str, NDArray]:
    import sentence_transformers

    trust = bool(reasons_of(folder))  # the code in a folder of ours is ours, or that of the user who pushes it
    kind = getattr(sentence_transformers, class_of(settings))
    model: Any = kind(str(folder), trust_remote_code=trust, device="cpu", local_files_only=True)
    passages = [text if not title else (title, text) for title, text in PASSAGES]
    if isinstance(settings, RankerRepresentation):
        return {"scores": model.predict(list(zip(QUERIES, passages, strict=True)))}
    vectors = {"query vectors": model.encode_query(QUERIES), "passage vectors": model.encode_document(passages)}
    return {name: np.asarray(v.to_dense() if hasattr(v, "to_dense") else v) for name, v in vectors.items()}
