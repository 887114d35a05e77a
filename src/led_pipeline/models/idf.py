"""Inference-free queries: a bag of a query's tokens, each with a fixed weight that does not depend on the context.

The weights are 1 (a binary bag of words) or come from a table, usually of inverse document frequencies. The table is a
JSON object from token to weight, or computed from the collection's tokens, and can be trained.

# B = texts, N = tokens of all texts, V = vocabulary entries
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models.backbone import PackedBatch

FILE = "idf.json"
AT_ONCE = 16_384  # passages counted at a time
WHOLE = 2**20  # tokens; longer than any stored text


class BagOfWords(nn.Module):
    """A query encoder that looks up the weight of each distinct token of a query.

    Args:
        weights_V: weight of each token; negative ones, which training may produce, count as 0.
        special: ids whose weight is 0.
        trained: whether the weights are trained.
        table: whether the weights are a table to save, and not all 1.

    Source: SPLADE-doc (arXiv:2109.10086) for weights of 1, except that [UNK] counts as special here; OpenSearch's
    inference-free sparse retrieval (arXiv:2411.04403) for a table.
    """

    def __init__(self, weights_V: Tensor, special: Sequence[int], *, trained: bool = False, table: bool = True):
        super().__init__()
        self.weights_V = nn.Parameter(weights_V.float().clone(), requires_grad=trained)
        counts_V = torch.ones(len(weights_V))
        counts_V[list(special)] = 0
        self.counts_V: Tensor
        self.register_buffer("counts_V", counts_V, persistent=False)
        self.table = table

    @property
    def final_V(self) -> Tensor:
        return self.weights_V.relu() * self.counts_V

    def forward(self, texts: PackedBatch) -> Tensor:
        """Return the weights (B, V) in float32; a text of special tokens alone gives a row of zeros."""
        lengths = texts.cu_seqlens.diff().long()
        rows = torch.arange(len(texts), device=lengths.device)
        text_N = rows.repeat_interleave(lengths, output_size=len(texts.ids_N))
        present_BV = self.weights_V.new_zeros(len(texts), len(self.weights_V))
        present_BV[text_N, texts.ids_N] = 1
        return texts.restore(present_BV * self.final_V)


def document_frequencies(passages: TokenStore, size: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the number of passages, titles included, with each of `size` vocabulary entries.

    Args:
        rows: those to count; all unless given.
    """
    rows, df = np.arange(len(passages)) if rows is None else rows, np.zeros(size, dtype=np.int64)
    for first in range(0, len(rows), AT_ONCE):
        batch = passages.texts(rows[first : first + AT_ONCE], WHOLE)
        text_N = np.repeat(np.arange(len(batch)), batch.lengths)
        df += np.bincount(np.unique(text_N * size + batch.ids) % size, minlength=size)
    return df


def inverse_document_frequencies(passages: TokenStore, size: int) -> Tensor:
    """Return ln(1 + (n - df + 0.5) / (df + 0.5)) for every vocabulary entry, n being the number of passages.

    Source: the idf of BM25 as Lucene computes it, which is above 0 for every df.
    """
    df = document_frequencies(passages, size)
    return torch.from_numpy(np.log1p((len(passages) - df + 0.5) / (df + 0.5))).float()


def read_table(path: Path, tokenizer: PreTrainedTokenizerBase, size: int) -> Tensor:
    """Read a JSON object from token to weight; entries of the vocabulary that it lacks have the weight 1.

    Raises:
        InputError: it is not such an object, it has a token that the tokenizer lacks, or a weight is not finite.
    """
    if not path.is_file():
        raise InputError(f"idf: no file '{path}'; name a JSON file from token to weight, or 'collection'")
    table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a JSON object from token to weight, got a {type(table).__name__}")
    vocabulary, weights = tokenizer.get_vocab(), torch.ones(size)
    for token, weight in table.items():
        if vocabulary.get(token, size) >= size:
            raise InputError(f"{path}: token {token!r} is not in the stage's tokenizer; make the table with that one")
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not (number and abs(weight) <= torch.finfo(torch.float32).max):
            raise InputError(f"{path}: the weight of {token!r} is {repr(weight)[:40]}, expected a finite number")
        weights[vocabulary[token]] = weight
    return weights


def checked_weights(tensors: Mapping[str, Tensor], path: Path, size: int) -> Tensor:
    """Return the weights of the ids of a tokenizer, as sentence-transformers saves them; further ids have the weight 1.

    Raises:
        InputError: the file does not hold one finite weight per id.
    """
    stored = tensors.get("weight")
    if stored is None or stored.dim() != 1 or len(stored) > size or not stored.isfinite().all():
        raise InputError(
            f"{path}: expected one tensor `weight` with a finite weight for each of at most {size:,} ids; name another"
            " table (idf), or another model"
        )
    weights = torch.ones(size)
    weights[: len(stored)] = stored.float()
    return weights


def write_table(path: Path, encoder: BagOfWords, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the weights by token; special tokens have 0."""
    weights = encoder.final_V.detach().cpu().tolist()
    table = {token: weights[i] for token, i in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
             if i < len(weights)}  # fmt: skip
    path.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
