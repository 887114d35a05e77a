"""Compare lexicon weights with those of sentence-transformers and transformers, for compare_models."""

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import torch
from comparison import Comparison
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
from small_models import LENGTH, MASKED, Case, folder, root, tokens
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoTokenizer

TABLE = {"a": 3.5, "b": 0.25, "c": 7.0, "d": 0.0}
KEPT = 8  # of the highest weights
RATIO = 0.3


@cache
def splade(name: str, activation: str = "relu") -> SparseEncoder:
    parts = [MLMTransformer(str(folder(name)), max_seq_length=LENGTH), SpladePooling("max", activation)]
    return SparseEncoder(modules=parts, device="cpu").eval()


def sparse(case: Case, name: str, activation: str = "relu", **options: Any) -> Tensor:
    return splade(name, activation).encode(case.texts, convert_to_sparse_tensor=False, **options)


@torch.no_grad()
def without_special_tokens(case: Case, name: str, activation: str) -> Tensor:
    """Return the peer's pooling of transformers' logits, without the first and the last token."""
    inputs = tokens(name, case.texts)
    logits = AutoModelForMaskedLM.from_pretrained(folder(name)).eval()(**inputs).logits
    mask = inputs["attention_mask"].clone()
    mask[torch.arange(len(mask)), mask.sum(dim=1) - 1] = 0
    mask[:, 0] = 0
    return SpladePooling("max", activation)({"token_embeddings": logits, "attention_mask": mask})["sentence_embedding"]


def pruned(case: Case) -> list[list[float]]:
    """Return the peer's weights above a share of each text's highest one, by a plain loop."""
    return [[w if w > RATIO * max(row) else 0.0 for w in row] for row in sparse(case, "bert-mlm").tolist()]


def bag_of_words(case: Case, weights: dict[str, float] | None) -> Tensor:
    """Return the peer's static embedding of the texts, which have no [UNK]."""
    tokenizer = AutoTokenizer.from_pretrained(folder("bert-mlm"))
    values = torch.ones(len(tokenizer))
    for token, weight in (weights or {}).items():
        values[tokenizer.convert_tokens_to_ids(token)] = weight
    peer = SparseStaticEmbedding(tokenizer, values, frozen=True)
    texts = [" ".join(text.split()[: LENGTH - 2]) for text in case.texts]  # the static embedding does not truncate
    return peer(peer.preprocess(texts))["sentence_embedding"]


@cache
def table_file() -> str:
    path = root() / "idf.json"
    path.write_text(json.dumps(TABLE), encoding="utf-8")
    return str(path)


def comparisons() -> Iterator[Comparison]:
    """Yield all comparisons of lexicon stages."""
    for name, kind in MASKED.items():
        for activation, peer in (("log1p", "relu"), ("log1p_twice", "log1p_relu")):
            ours = partial(
                lambda case, name, **keys: case.vectors(name, keep_special_tokens=True, **keys),
                name=name,
                activation=activation,
            )
            reference = partial(sparse, name=name, activation=peer)
            yield Comparison(f"{kind}, {activation}, special tokens kept", "SparseEncoder", ours, reference)
        yield Comparison(
            f"{kind}, log1p, without special tokens",
            "transformers' logits, SpladePooling",
            partial(lambda case, name: case.vectors(name), name=name),
            partial(without_special_tokens, name=name, activation="relu"),
        )
    yield Comparison(
        f"top_k_passages {KEPT}",
        f"SparseEncoder, max_active_dims {KEPT}",
        lambda case: case.vectors("bert-mlm", keep_special_tokens=True, top_k_passages=KEPT),
        lambda case: sparse(case, "bert-mlm", max_active_dims=KEPT),
    )
    yield Comparison(
        f"top_k_queries {KEPT}",
        f"SparseEncoder, max_active_dims {KEPT}",
        lambda case: case.vectors("bert-mlm", "query", keep_special_tokens=True, top_k_queries=KEPT),
        lambda case: sparse(case, "bert-mlm", max_active_dims=KEPT),
    )
    yield Comparison(
        f"prune_ratio_passages {RATIO}",
        "SparseEncoder, then a plain loop",
        lambda case: case.vectors("bert-mlm", keep_special_tokens=True, prune_ratio_passages=RATIO),
        pruned,
    )
    yield Comparison(
        "queries as bag_of_words",
        "SparseStaticEmbedding",
        lambda case: case.vectors("bert-mlm", "query", query_encoder="bag_of_words"),
        partial(bag_of_words, weights=None),
    )
    yield Comparison(
        "queries with an idf table",
        "SparseStaticEmbedding",
        lambda case: case.vectors("bert-mlm", "query", query_encoder="idf", idf=table_file()),
        partial(bag_of_words, weights=TABLE),
    )
