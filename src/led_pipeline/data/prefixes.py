"""Prefixes: words put before every query or passage, as models are used that were trained with an instruction.

The token store is made once for all stages that share a tokenizer, so a stage's prefix is not in it: its token ids are
inserted when a batch is put together, behind [CLS] where there is one, and the text is cut to what room they leave.
Prefix and text are tokenised apart, without the spaces at the prefix's end. For word pieces and sentence pieces that is
the same as together; a byte-level tokenizer marks the space before the first word of a text only when both are
tokenised together.
"""

from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tokens import Batch, TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.settings import Representation, Side

SIDES: dict[str, Side] = {"queries": "query", "passages": "passage"}

T = TypeVar("T")


class PrefixedStore(TokenStore):
    """A token store whose texts all begin with some ids."""

    def __init__(self, store: TokenStore, ids: NDArray[np.int64]):
        self.__dict__.update(store.__dict__)  # the same memory maps
        self._prefix = ids

    def lengths(self, rows: Any, length: int) -> NDArray[np.int64]:
        """Return the number of tokens that `texts` gives for each row, prefix and special tokens included."""
        return super().lengths(rows, length - len(self._prefix)) + len(self._prefix)

    def texts(self, rows: Any, length: int) -> Batch:
        """Return `[CLS] prefix text [SEP]`, or `[CLS] prefix title [SEP] text [SEP]`, cut to `length`."""
        batch = super().texts(rows, length - len(self._prefix))
        places = batch.starts + (self.begin >= 0)
        ids = np.insert(batch.ids, np.repeat(places, len(self._prefix)), np.tile(self._prefix, len(batch)))
        return Batch(ids, batch.lengths + len(self._prefix))


@cache
def _ids(tokenizer: str, text: str) -> tuple[int, ...]:
    return tuple(load_tokenizer(tokenizer)(text.rstrip(" "), add_special_tokens=False)["input_ids"])


def with_prefix(store: TokenStore, side: Side, tokenizer: str, settings: Representation) -> TokenStore:
    """Return a store that puts a stage's prefix of one side (query or passage) before every text, if it has any.

    Raises:
        InputError: the prefix leaves no room for a text.
    """
    text, length = settings.prefix(side), settings.length(side)
    if not text:
        return store
    ids = np.array(_ids(str(tokenizer), text), dtype=np.int64)
    if len(ids) + 4 > length:  # [CLS] title [SEP] text [SEP], one token of each at least
        raise InputError(
            f"{side}_prefix: {len(ids)} tokens leave no room for a text in {side}_length ({length}); raise it or"
            " shorten the prefix"
        )
    return PrefixedStore(store, ids)


def with_prefixes(holder: T, tokenizer: str, settings: Representation) -> T:
    """Return a dataclass with the stores `queries` and `passages` whose texts have a stage's prefixes."""
    stores = {name: with_prefix(getattr(holder, name), side, tokenizer, settings) for name, side in SIDES.items()}
    return replace(holder, **stores)
