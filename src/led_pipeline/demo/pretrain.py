"""Build a word-piece vocabulary and a small BERT from the collection itself, for use without a model hub.

Run as `python -m led_pipeline.demo.pretrain --passages passages.parquet --settings JSON --out DIR`.

No gradient is involved. The token embeddings are a truncated SVD of the idf-weighted token-passage matrix (latent
semantic analysis), and the layers start near the identity, so that the mean of the last layer's outputs is an
idf-weighted LSA vector of the text and the masked-LM head gives high logits to related terms. Training starts there.

Layer normalisation would give all token vectors the same length and so erase the idf weights. Two reserved dimensions
therefore hold a large constant with opposite signs: it dominates the length of every token's vector, so that
normalisation divides all of them by nearly the same number; the last normalisation sets these two dimensions to 0.

# V = vocabulary entries, P = passages, H = hidden size
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import svds
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, set_seed

from led_pipeline.data.opened import parquet
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe.step_settings import PretrainSettings, parser_of

if TYPE_CHECKING:
    from transformers.models.bert.modeling_bert import BertLayer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# The unit that replaces words in scripts without blanks, about a syllable of Thai, Lao, Burmese or Khmer: a vowel that
# is written first, a letter with its marks and its subscript letter, a Burmese final, a vowel that is written last.
# Pieces of longer runs would depend on where a run begins, so that a query would share few of them with its passage.
# Japanese switches between its two kinds of kana at the ends of words.
SYLLABLE = (
    r"[\u0e40-\u0e44\u0ec0-\u0ec4]?(?=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\p{L}"
    r"(?:[\u1039\u17d2]\p{L}|\p{M})*(?:[\u1000-\u1021]\u103a\p{M}*)?[\u0e30\u0e32\u0e45\u0eb0\u0eb2]?"
    r"|[\p{Katakana}\u30fc]+|\p{Hiragana}+"
)
# Longest word in characters; longer runs are cut, since the time to find a word's pieces is cubic in its length.
LONGEST = 100
MARKS = 10  # at most this many of them are marks on the last letter, which a cut does not separate from it
RESERVED = 2
RESOLUTION = 1e-3  # singular values below this share of the largest may be rounding errors of 0
LENGTH = 4.0  # length of an average token's vector: well above the layers' initial noise, well below the constant
LOGIT = 10.0  # logit of an average token for itself
THRESHOLD = 0.75  # cosine of hidden state and embedding above which a term gets a positive weight


def read_texts(passages: Path) -> Iterator[str]:
    """Yield the title and text of every passage as one string."""
    with parquet(passages) as file:
        for batch in file.iter_batches(columns=["title", "text"]):
            for title, text in zip(batch["title"].to_pylist(), batch["text"].to_pylist(), strict=True):
                yield f"{title} {text}"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train lower-cased word pieces that keep all accents, vowel signs and tone marks.

    camelCase, dotted and underscored names are split first. In scripts without blanks, a word is a Chinese character,
    or about a syllable of a Southeast Asian script.
    """
    texts = list(texts)
    # The trainer numbers continuing letters (##a) in an order that differs from run to run, and breaks ties by number.
    # So a first round only collects these letters, and the second gets them in sorted order.
    letters = sorted(token for token in _train_pieces(texts, SPECIAL, 0) if token.startswith("##"))
    pieces = _train_pieces(texts, [*SPECIAL, *letters], vocabulary)
    tokenizer = _word_pieces(pieces)
    cls, sep = pieces["[CLS]"], pieces["[SEP]"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    names = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]  # other libraries pass token types only if listed
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def _word_pieces(pieces: dict[str, int] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=LONGEST))
    tokenizer.normalizer = normalizers.Sequence(
        [
            # One code for characters that look alike. Marks stay: they may be vowels, tones or other letters.
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"\u200b|(?<=[a-z0-9])(?=[A-Z])"), " "),  # zero-width spaces of Khmer and Thai
            normalizers.Replace(Regex(r"[\u00ad\u2060\ufeff]"), ""),  # soft hyphens, word joiners, byte order marks
            normalizers.BertNormalizer(
                clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=True
            ),
        ]
    )
    longer = rf".{{{LONGEST - MARKS}}}\p{{M}}{{0,{MARKS}}}"
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (SYLLABLE, longer)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), *cuts])
    return tokenizer


def _train_pieces(texts: list[str], first: list[str], size: int) -> dict[str, int]:
    """Return word pieces and their numbers: those in `first`, all letters of the texts, and merges up to `size`."""
    tokenizer = _word_pieces()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return vocabulary


def count_matrix(tokenizer: PreTrainedTokenizerFast, texts: Iterator[str], size: int) -> sp.csr_matrix:
    """Return the count of each token in each passage (P, V), without special tokens."""
    rows = [e.ids for e in tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    offsets = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
    matrix = sp.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, offsets), shape=(len(rows), size))
    matrix.sum_duplicates()
    return matrix


def lsa_embeddings(counts_PV: sp.csr_matrix, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Return one vector per token (V, dimensions), whose length is the token's relative idf.

    The matrix holds log(1 + count) x idf with rows of unit length. A token's vector is its row of V S^(1/2) of the
    truncated SVD, scaled to the length idf / mean idf; tokens that occur in no passage have the vector 0.

    Raises:
        InputError: there are fewer passages or tokens than dimensions, or the passages do not differ.
    """
    passages = counts_PV.shape[0]
    frequency = np.bincount(counts_PV.indices, minlength=counts_PV.shape[1])
    idf = np.log((passages + 1) / (frequency + 1)).astype(np.float32)
    weighted = counts_PV.copy()
    weighted.data = np.log1p(weighted.data) * idf[weighted.indices]
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted = sp.diags(1 / np.maximum(lengths, 1e-6)).astype(np.float32) @ weighted
    if min(weighted.shape) <= dimensions:
        raise InputError(
            f"pretrain: {passages} passages with {weighted.shape[1]} word pieces are too few for {dimensions}"
            " dimensions; lower stages.*.hidden"
        )
    if not weighted.data.any():
        raise InputError(
            f"pretrain: nothing can be learned from these {passages} passages, since all of them have the same word"
            " pieces; are these the right texts?"
        )
    _, values, right = svds(weighted, k=dimensions, rng=np.random.default_rng(seed))
    vectors = right.T * np.sqrt(np.where(values > RESOLUTION * values.max(), values, 0))
    # The sign of a singular vector is arbitrary; it is fixed so that equal input gives equal output.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(dimensions)])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    target = (idf / idf[frequency > 0].mean())[:, None]
    vectors = np.where(norms > 1e-6, vectors / np.maximum(norms, 1e-6) * target, 0)
    vectors[: len(SPECIAL)] = 0  # a text may contain "[SEP]", but separators carry no meaning
    return vectors.astype(np.float32)


@torch.no_grad()
def build_model(embeddings: NDArray[np.float32], settings: PretrainSettings) -> BertForMaskedLM:
    """Return a BERT with these token embeddings (V, H - 2), whose layers are near the identity."""
    size, hidden = len(embeddings), settings.hidden
    config = BertConfig(
        vocab_size=size,
        hidden_size=hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        max_position_embeddings=settings.positions,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
    )
    model = BertForMaskedLM(config)
    # With this constant a normalised vector keeps the scale of the embeddings.
    constant = (hidden / RESERVED) ** 0.5
    words = model.bert.embeddings.word_embeddings.weight
    words.zero_()
    words[:, :-RESERVED] = LENGTH * torch.from_numpy(embeddings)
    words[:, -2], words[:, -1] = constant, -constant
    model.bert.embeddings.token_type_embeddings.weight.mul_(settings.output_scale)
    model.bert.embeddings.position_embeddings.weight.mul_(settings.output_scale)
    layers = cast("list[BertLayer]", list(model.bert.encoder.layer))
    for layer in layers:
        attention = layer.attention.self
        for reader in (attention.query, attention.key, attention.value, layer.intermediate.dense):
            reader.weight[:, -RESERVED:] = 0
        for writer in (layer.attention.output.dense, layer.output.dense):
            writer.weight.mul_(settings.output_scale)
    last = layers[-1].output.LayerNorm
    last.weight[-RESERVED:] = 0
    _near_identity_head(model)
    return model


def _near_identity_head(model: BertForMaskedLM) -> None:
    """Make the masked-LM head a product with the embeddings, above a threshold.

    A hidden state shifted far to the right passes through gelu unchanged, and the normalisation removes the shift. A
    logit is then proportional to the term's idf and to (cosine - threshold).
    """
    head, size = model.cls.predictions, model.config.hidden_size
    torch.nn.init.eye_(head.transform.dense.weight)
    head.transform.dense.bias.fill_(10.0)
    head.transform.LayerNorm.weight.fill_(LOGIT / (LENGTH * size**0.5))
    head.transform.LayerNorm.weight[-RESERVED:] = 0
    lengths = head.decoder.weight[:, :-RESERVED].norm(dim=1)
    head.bias.copy_(-THRESHOLD * LOGIT / LENGTH * lengths - 1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a vocabulary and a small BERT from a collection.")
    parser.add_argument("--passages", required=True, type=Path)
    parser.add_argument("--settings", required=True, type=parser_of(PretrainSettings))
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    set_seed(a.settings.seed)
    tokenizer = train_tokenizer(read_texts(a.passages), a.settings.vocabulary)
    counts = count_matrix(tokenizer, read_texts(a.passages), len(tokenizer))
    embeddings = lsa_embeddings(counts, a.settings.hidden - RESERVED, a.settings.seed)
    model = build_model(embeddings, a.settings)
    with atomic(a.out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    print(f"{len(tokenizer):,} word pieces, {model.num_parameters():,} parameters")


if __name__ == "__main__":
    run_main(main)
