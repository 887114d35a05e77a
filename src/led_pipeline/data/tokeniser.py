"""Tokeniser: texts to token ids without special tokens, as token stores hold them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Columns
from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.tokenizer import first_token, load_tokenizer, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 4_096  # texts per call: the tokenizer's output takes many times the memory of the ids
SPECIAL = ("cls", "sep", "pad", "unk", "eos")
NONE = -1  # the id of a special token that a tokenizer lacks

Tokens = tuple[Columns, dict[str, str]]  # the columns of a token store's file, and its metadata


class Tokeniser:
    """A tokenizer, with what token stores record about it.

    Args:
        name: a folder or a hub id.
        max_tokens: the number of tokens at which a text is cut.

    Raises:
        InputError: the tokenizer cannot be read, or puts its special tokens where BERT, T5 and decoders do not.
    """

    def __init__(self, name: str, max_tokens: int):
        loaded = load_tokenizer(name)
        special = {token: getattr(loaded, f"{token}_token_id") for token in SPECIAL}
        special = {token: NONE if number is None else number for token, number in special.items()}
        if (special["cls"] == NONE) != (special["sep"] == NONE) or special["sep"] == special["eos"] == NONE:
            missing = [token for token in ("cls", "sep") if special[token] == NONE]
            raise InputError(
                f"tokenizer '{name}': it has no {' and no '.join(missing)} token; one with cls and sep (BERT), or with"
                " neither and an eos (T5, decoders), is expected"
            )
        begin = first_token(loaded, name)
        special["begin"] = NONE if begin is None else begin
        vocabulary = vocabulary_size(loaded)
        counts = {"vocabulary": vocabulary, "between": separators(loaded)}
        self.metadata = {token: str(value) for token, value in (special | counts).items()}
        self.dtype: type[np.unsignedinteger] = np.uint16 if vocabulary <= 2**16 else np.uint32
        self.max_tokens = max_tokens
        self._fast = loaded.backend_tokenizer
        self._fast.no_truncation()
        self._fast.no_padding()

    def parts(self, texts: Sequence[str]) -> Iterator[Ragged]:
        """Yield the ids of texts, some thousands at a time."""
        for first in range(0, len(texts), AT_ONCE):
            encoded = self._fast.encode_batch_fast(texts[first : first + AT_ONCE], add_special_tokens=False)
            rows: list[NDArray] = [np.asarray(each.ids[: self.max_tokens], dtype=self.dtype) for each in encoded]
            yield Ragged.from_rows(rows, self.dtype)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Return texts, such as queries, as a shard of a token store."""
        return Columns(text=Ragged.joined(list(self.parts(texts)), self.dtype)), self.metadata

    def words(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token; a piece inside a word has its tokenizer's mark (##ing), a space none."""
        return [self._fast.decode([i]).strip() or self._fast.id_to_token(i) or f"[{i}]" for i in ids]


def separators(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return how many separators a tokenizer puts between two texts: one, RoBERTa two; 0 if it has no separator."""
    if tokenizer.sep_token_id is None:
        return 0
    # The last one ends the second text; a tokenizer without a template for pairs adds none.
    return min(2, max(1, tokenizer("a", "a")["input_ids"].count(tokenizer.sep_token_id) - 1))
