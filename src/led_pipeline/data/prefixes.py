"""Insert a stage's prefix (an instruction) before every query or passage, and its separator after every title.

Stages that share a tokenizer share one token store, so it holds no prefixes: the prefix's token ids are inserted when a
batch is built, after [CLS] if there is one, and the text is truncated to the remaining length. The same holds for a
title separator. Prefix, separator and text are tokenised separately, without the spaces at the prefix's end. For word
pieces and sentence pieces this equals tokenising them together; a byte-level tokenizer marks the space before the first
word of a text only if they are tokenised together.
"""

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tokens import Batch, TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.representation import Representation, Side

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SIDES: dict[str, Side] = {"queries": "query", "passages": "passage"}

T = TypeVar("T", bound="DataclassInstance")


class PrefixedStore(TokenStore):
    """A token store whose texts all begin with the same token ids."""

    def __init__(self, store: TokenStore, ids: NDArray[np.int64]):
        self.__dict__.update(store.__dict__)  # the same memory maps
        self._prefix = ids

    def lengths(self, rows: Any, length: int) -> NDArray[np.int64]:
        """Return the number of tokens that `texts` returns for each row, prefix and special tokens included."""
        return super().lengths(rows, length - len(self._prefix)) + len(self._prefix)

    def texts(self, rows: Any, length: int) -> Batch:
        """Return `[CLS] prefix text [SEP]`, or `[CLS] prefix title [SEP] text [SEP]`, truncated to `length`."""
        batch = super().texts(rows, length - len(self._prefix))
        places = batch.starts + (self.begin >= 0)
        ids = np.insert(batch.ids, np.repeat(places, len(self._prefix)), np.tile(self._prefix, len(batch)))
        return Batch(ids, batch.lengths + len(self._prefix))


@cache
def _ids(tokenizer: str, text: str) -> tuple[int, ...]:
    return tuple(load_tokenizer(tokenizer)(text.rstrip(" "), add_special_tokens=False)["input_ids"])


def with_prefix(store: TokenStore, side: Side, tokenizer: str, settings: Representation) -> TokenStore:
    """Return a store that puts a stage's prefix for one side (query or passage) before every text, if it has one.

    Passages have the stage's title separator, if it names one.

    Raises:
        InputError: the prefix or the separator leaves no room for a text.
    """
    text, length = settings.prefix(side), settings.length(side)
    room = length - 4  # [CLS] title [SEP] text [SEP], at least one token of each
    if side == "passage" and settings.title_separator is not None:
        separator = _array(tokenizer, settings.title_separator)
        _check_room("title_separator", separator, side, length, room)
        room, store = room - len(separator), store.with_title_separator(separator)
    if not text:
        return store
    ids = _array(tokenizer, text)
    _check_room(f"{side}_prefix", ids, side, length, room)
    return PrefixedStore(store, ids)


def _array(tokenizer: str, text: str) -> NDArray[np.int64]:
    return np.array(_ids(str(tokenizer), text), dtype=np.int64)


def _check_room(key: str, ids: NDArray[np.int64], side: Side, length: int, room: int) -> None:
    if len(ids) > room:
        raise InputError(
            f"{key}: {len(ids)} tokens leave no room for a text in {side}_length ({length}); raise it or shorten {key}"
        )


def with_prefixes(holder: T, tokenizer: str, settings: Representation) -> T:
    """Return the dataclass with a stage's prefixes before the texts of its stores `queries` and `passages`."""
    stores = {name: with_prefix(getattr(holder, name), side, tokenizer, settings) for name, side in SIDES.items()}
    return replace(holder, **stores)
