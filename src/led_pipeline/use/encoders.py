"""Encoders: a stage's model, loaded at its first query, and the vector of a query, as the run computes it.

A query is tokenised, prefixed, cut and rounded as `inference.encode` does it for a whole split. Only the size of the
batch differs, and with it the last bits of float32.
"""

from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from numpy.typing import NDArray

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokeniser import Tokeniser
from led_pipeline.data.tokens import TokenStore
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.inference.batches import Precision
from led_pipeline.inference.encode import dense_rows, sparse_rows
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.representation import Side
from led_pipeline.recipe.step_settings import ModelSettings

ONE = np.zeros(1, dtype=np.int64)  # the row of the only query


def device() -> torch.device:
    """Return where models compute: on the first GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class StageModel:
    """A saved model and its tokenizer, for one text at a time.

    Args:
        folder: the model folder; nothing is read before it is needed.
        max_tokens: `dataset.max_tokens`, at which token stores cut texts.
        precision: the stage's `inference_precision`.
    """

    def __init__(self, folder: Path, max_tokens: int, precision: Precision, threads: int):
        self.folder = folder
        self.precision = precision
        self._max_tokens = max_tokens
        self._threads = threads
        self._lock = RLock()

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, ModelSettings]:
        torch.set_num_threads(self._threads)
        model, settings = load(self.folder)
        return model.to(device()).eval(), settings

    @cached_property
    def tokeniser(self) -> Tokeniser:
        return Tokeniser(str(self.folder), self._max_tokens)

    @property
    def model(self) -> torch.nn.Module:
        with self._lock:
            return self._loaded[0]

    @property
    def settings(self) -> ModelSettings:
        with self._lock:
            return self._loaded[1]

    def store(self, query: str) -> TokenStore:
        """Return a token store with one query."""
        with self._lock:
            tokens = self.tokeniser([query])
        return self.prefixed(TokenStore.for_stage([tokens], self.settings), "query")

    def prefixed(self, store: TokenStore, side: Side) -> TokenStore:
        return with_prefix(store, side, str(self.folder), self.settings)

    def dense(self, query: str) -> NDArray[np.float16]:
        """Return a query's vector (D,), rounded to float16 as those on disk.

        Raises:
            InputError: a value is not finite.
        """
        encoder, length = encoder_of(self.model, "query"), self.settings.query_length
        vector = dense_rows(encoder, self.store(query), ONE, length, device(), self.precision)[0]
        self._check_finite(vector)
        return vector

    def sparse(self, query: str) -> SparseVectors:
        """Return a query's weights as the only row; see `dense` for errors."""
        encoder, length = encoder_of(self.model, "query"), self.settings.query_length
        vector = SparseVectors(**sparse_rows(encoder, self.store(query), ONE, length, device(), self.precision))
        self._check_finite(vector.weights.values)
        return vector

    def _check_finite(self, values: NDArray) -> None:
        if not np.isfinite(values).all():
            raise InputError(
                f"{self.folder}: the query's vector has a value that is not finite, so this model has diverged; train"
                " it again with a lower learning_rate"
            )
