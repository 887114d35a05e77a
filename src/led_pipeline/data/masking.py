"""Masking: which tokens of a batch of passages are predicted, what replaces them, and each passage's bag of words.

A masked language model predicts a share of each passage's tokens. 80 % of these are replaced by [MASK], 10 % by a
random token, and 10 % stay, as in BERT (arXiv:1810.04805); its special tokens are never chosen. Unlike there, a passage
has a fixed number of predicted tokens, its share rounded, and at least one. Random numbers depend on the seed, the step
and a passage's place in the batch alone, so the processes of a training draw what one process would.

# B = passages, T = tokens of the longest one, N = tokens of all, M = predicted tokens, K = words of all bags
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tokens import Batch

REPLACED, CHANGED = 0.8, 0.1  # shares of the predicted tokens: by [MASK], by a random token
BLOCK = 4  # numbers of 64 bits that Philox draws at a time


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of a tokenizer, as masking needs them."""

    size: int
    """One more than the highest id."""
    mask: int
    """The id of [MASK]."""
    special: Collection[int]
    """Ids that are never predicted, and are no random tokens."""
    stop: NDArray[np.bool_]
    """True at ids that are in no bag of words, special ones included (size,)."""

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """True at special ids (size,)."""
        return np.isin(np.arange(self.size), list(self.special))

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """The ids that are not special, ascending."""
        return np.flatnonzero(~self.is_special)


@dataclass(frozen=True)
class MaskedBatch:
    """Passages with some tokens replaced, and what is to be predicted."""

    texts: Batch
    """The passages as the model reads them."""
    places_M: NDArray[np.int64]
    """The predicted tokens, by their place among the tokens of all passages, ascending."""
    tokens_M: NDArray[np.int64]
    """What these tokens were."""
    text_K: NDArray[np.int64]
    """The passage of each word of a bag, ascending."""
    word_K: NDArray[np.int64]
    """The distinct tokens of each passage without stop words."""


def draw(seed: int, step: int, first: int, count: int, length: int) -> NDArray[np.float64]:
    """Return three numbers from 0 to 1 for every token of some passages of a batch, (count, 3, length).

    Args:
        step: the optimizer step, from 0.
        first: place of the first of these passages in the batch.
        length: the largest number of tokens of a passage.
    """
    bits = np.random.Philox(key=np.array([seed, step], dtype=np.uint64))
    bits.advance(first * length)  # a passage takes BLOCK numbers per token
    return np.random.Generator(bits).random((count, BLOCK, length))[:, :3]


def mask(texts: Batch, numbers_B3T: NDArray[np.float64], share: float, words: Vocabulary) -> MaskedBatch:
    """Choose the tokens of some passages that are predicted, and replace them.

    Args:
        numbers_B3T: of `draw`, one row per passage.
        share: of a passage's tokens that are predicted, special ones aside.
    """
    text_N = np.repeat(np.arange(len(texts)), texts.lengths)
    place_N = np.arange(len(texts.ids)) - np.repeat(texts.starts, texts.lengths)
    order_N, fate_N, token_N = (numbers_B3T[text_N, kind, place_N] for kind in range(3))
    eligible_N = ~words.is_special[texts.ids]
    eligible_B = np.bincount(text_N[eligible_N], minlength=len(texts))
    wanted_B = np.minimum(np.maximum(np.floor(share * eligible_B + 0.5).astype(np.int64), 1), eligible_B)
    sorted_N = np.lexsort((np.where(eligible_N, order_N, 2.0), text_N))  # texts stay in order, special tokens come last
    places_M = np.sort(sorted_N[place_N < wanted_B[text_N]])
    tokens_M, fate_M = texts.ids[places_M], fate_N[places_M]
    random_M = words.ordinary[(token_N[places_M] * len(words.ordinary)).astype(np.int64)]
    ids = texts.ids.copy()
    ids[places_M] = np.where(fate_M < REPLACED, words.mask, np.where(fate_M < REPLACED + CHANGED, random_M, tokens_M))
    in_bag = ~words.stop[texts.ids]
    text_K, word_K = np.divmod(np.unique(text_N[in_bag] * words.size + texts.ids[in_bag]), words.size)
    return MaskedBatch(Batch(ids, texts.lengths), places_M, tokens_M, text_K, word_K)
