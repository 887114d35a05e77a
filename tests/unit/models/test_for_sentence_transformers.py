"""Every family and option opens in sentence-transformers and gives our vectors and scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import opened
import pytest
import tiny
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from transformers import (
    BartConfig,
    BartModel,
    GPT2Config,
    GPT2Model,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
)

from led_pipeline.models import card, saved_model

pytestmark = pytest.mark.pipeline

OPENS = {"dense": SentenceTransformer, "lexicon": SparseEncoder, "ranker": CrossEncoder}
QUERIES = ["", "a", "b c", " ".join("abcdefghijklmnopqrstuvwxyz"), "x yz .", "[SEP] a"]
PASSAGES = [*QUERIES, " ".join("zyxw" * 20)]
TITLED = [
    ("a b", "c d e"),
    (" ".join("abc" * 9), " ".join("xyz" * 9)),
    ("t", " ".join("xyz" * 9)),
    (" ".join("t" * 30), "x"),
]
POOLING = "def weighted(hidden_NH, texts):\n    return hidden_NH[texts.cu_seqlens[1:].long() - 1] * 2\n"


def t5(kind, **changes):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
    config = T5Config(vocab_size=40, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **sizes, **changes)
    return tiny.fill(kind(config))


def saved(folder: Path, model, tokenizer="bert", query_init=None, **settings) -> Path:
    """Save a backbone, start a stage from it and return the folder that it is saved into."""
    words = folder / "tokenizer"
    if tokenizer == "bert":
        tiny.save_tokenizer(words)
    else:
        tiny.save_bare_tokenizer(words, ["true", "false", "Query:", "Document:", "Relevant:"])
    model.save_pretrained(folder / "start")
    if query_init is not None:
        query_init.save_pretrained(folder / "query_start")
        query_init = str(folder / "query_start")
    lengths = {"query_length": 8, "passage_length": 20}
    stage = tiny.settings(**{**lengths, **settings})
    trained = tiny.start(folder / "start", stage, words, query_init=query_init)
    (folder / "model").mkdir()
    saved_model.save(trained, stage, words, folder / "model")
    return folder / "model"


def has_code(folder: Path) -> bool:
    """Return whether a folder needs its own code in sentence-transformers."""
    return "led_modules" in (folder / "modules.json").read_text()


def blocks(folder: Path) -> list[str]:
    """Return the Python code of a folder's card."""
    card.write_card(folder, folder)
    return [part.partition("\n```")[0] for part in (folder / "README.md").read_text().split("```python\n")[1:]]


def run_card(folder: Path, scratch: Path, count: int) -> None:
    """Run every block of a folder's card, and compare what it computes with our own encoder."""
    codes = blocks(folder)
    assert len(codes) == count
    texts: dict[str, Any] = {}
    for code in codes:
        results: dict[str, Any] = {}
        exec(code, results)
        texts = texts or {name: results[name] for name in ("query_texts", "passage_texts")}
        if "queries" not in results:
            if "score" not in results and "scores" not in results:
                continue  # ranks, and prints
            pairs = [(texts["query_texts"][0], passage) for passage in texts["passage_texts"]]
            np.testing.assert_allclose(np.asarray(results["scores"]), opened.scores(folder, pairs, scratch), atol=1e-5)
            continue
        for side, name in (("query", "queries"), ("passage", "passages")):
            values = results[name]
            values = values.to_dense() if getattr(values, "is_sparse", False) else values
            ours = opened.vectors(folder, texts[f"{side}_texts"], side, scratch)
            np.testing.assert_allclose(np.asarray(values), ours, atol=1e-5, rtol=1e-5)


def compare(folder: Path, scratch: Path, trust: bool, count: int = 3) -> None:
    """Encode texts of both sides with sentence-transformers, and compare with our own encoder."""
    family = json.loads((folder / "led.json").read_text())["family"]
    assert has_code(folder) == trust
    if trust:
        with pytest.raises(ValueError, match="trust_remote_code"):
            OPENS[family](str(folder))
    model = OPENS[family](str(folder), trust_remote_code=trust, device="cpu")
    run_card(folder, scratch, count)
    passages = [*PASSAGES, *TITLED]
    queries_of_ours, ours = (
        opened.vectors(folder, QUERIES, "query", scratch),
        opened.vectors(folder, passages, "passage", scratch),
    )
    for encode, texts, expected in (
        (model.encode_query, QUERIES, queries_of_ours),
        (model.encode_query, QUERIES[:1], queries_of_ours[:1]),
        (model.encode_document, passages, ours),
        (model.encode, passages, ours),
        (model.encode, passages[:1], ours[:1]),
    ):
        result = encode(texts, batch_size=4)
        result = result.to_dense().numpy() if family == "lexicon" else result
        np.testing.assert_allclose(result, expected, atol=1e-5, rtol=1e-5)


DENSE = {
    "cls": ({}, False),
    "mean": ({"pooling": "mean", "normalize": True}, False),
    "last": ({"pooling": "last"}, False),
    "head": ({"head": 8, "normalize": True}, False),
    "query prefix": ({"query_prefix": "q: ", "query_length": 10}, False),
    "passage prefix": ({"passage_prefix": "p q:"}, True),
    "untitled": ({"untitled": "empty_title"}, True),
    "title separator": ({"title_separator": ": ", "passage_prefix": "p"}, True),
    "untied": ({"untied": True}, False),
    "untied head": ({"untied": True, "head": 8, "normalize": True}, False),
    "untied untitled head": ({"untied": True, "head": 8, "untitled": "empty_title"}, True),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_stages_open_as_trained(tmp_path, name):
    settings, trust = DENSE[name]
    query_init = tiny.backbone("dense", seed=7) if settings.get("untied") else None
    folder = saved(tmp_path, tiny.backbone("dense"), family="dense", query_init=query_init, **settings)
    compare(folder, tmp_path, trust, count=2 if "title_separator" in settings else 3)


LEXICON = {
    "default": ({}, True),
    "special": ({"keep_special_tokens": True}, False),
    "special twice": ({"keep_special_tokens": True, "activation": "log1p_twice"}, False),
    "twice": ({"activation": "log1p_twice"}, True),
    "pruned": ({"keep_special_tokens": True, "top_k_queries": 5, "prune_ratio_passages": 0.3}, True),
    "untied": ({"keep_special_tokens": True, "untied": True}, False),
    "bag of words": ({"keep_special_tokens": True, "query_encoder": "bag_of_words"}, False),
    "idf": ({"keep_special_tokens": True, "query_encoder": "idf"}, False),
    "idf prefix": ({"keep_special_tokens": True, "query_encoder": "idf", "query_prefix": "q: "}, False),
    "idf default": ({"query_encoder": "idf"}, True),
}


@pytest.mark.parametrize("name", LEXICON)
def test_lexicon_stages_open_as_trained(tmp_path, name):
    settings, trust = LEXICON[name]
    if settings.get("query_encoder") == "idf":
        weights = {letter: 0.1 * i for i, letter in enumerate(tiny.LETTERS)}
        (tmp_path / "idf.json").write_text(json.dumps(weights))
        settings = {**settings, "idf": str(tmp_path / "idf.json")}
    folder = saved(tmp_path, tiny.backbone("lexicon"), family="lexicon", **settings)
    compare(folder, tmp_path, trust)


def bart():
    sizes = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    return tiny.fill(BartModel(BartConfig(vocab_size=57, **sizes, **heads, **tokens)))


def gpt2():
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return tiny.fill(GPT2Model(GPT2Config(vocab_size=40, bos_token_id=1, eos_token_id=1, attn_pdrop=0.0, **sizes)))


OTHERS = {
    "t5": (lambda: t5(T5EncoderModel), {"pooling": "mean"}, True),
    "t5 eos": (lambda: t5(T5EncoderModel), {"pooling": "mean", "append_eos": True}, False),
    "t5 decoder": (lambda: t5(T5Model), {"encoder_decoder": "first_decoder_token", "append_eos": True}, True),
    "gpt2": (gpt2, {"pooling": "last", "append_eos": True, "normalize": True}, False),
    "bart": (bart, {"encoder_decoder": "first_decoder_token"}, True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_encoder_decoders_and_decoders_open_as_trained(tmp_path, name):
    model, settings, trust = OTHERS[name]
    tokenizer = "bert" if name == "bart" else "bare"
    folder = saved(tmp_path, model(), tokenizer, family="dense", **settings)
    compare(folder, tmp_path, trust)


@pytest.mark.parametrize("name", ["distilbert", "roberta", "bert with untied output embeddings"])
def test_other_masked_language_models_open_as_trained(tmp_path, name):
    folder = saved(tmp_path, tiny.lexicon_backbone(name), family="lexicon", keep_special_tokens=True)
    compare(folder, tmp_path, trust=False)


def test_a_users_pooling_opens_where_led_pipeline_is_installed(tmp_path):
    (tmp_path / "mine.py").write_text(POOLING)
    folder = saved(
        tmp_path, tiny.backbone("dense"), family="dense", pooling=f"{tmp_path / 'mine.py'}:weighted", untied=True
    )
    compare(folder, tmp_path, trust=True, count=2)


RANKERS = {
    "bert": (
        lambda: tiny.backbone("ranker"),
        "bert",
        {"query_prefix": "q: ", "passage_prefix": "p", "query_length": 10},
    ),
    "untitled": (lambda: tiny.backbone("ranker"), "bert", {"untitled": "empty_title"}),
    "title separator": (lambda: tiny.backbone("ranker"), "bert", {"title_separator": ": "}),
    "true_false": (lambda: t5(T5ForConditionalGeneration), "bare", {"scoring": "true_false"}),
}


@pytest.mark.parametrize("name", RANKERS)
def test_rankers_open_as_trained(tmp_path, name):
    model, tokenizer, settings = RANKERS[name]
    folder = saved(tmp_path, model(), tokenizer, family="ranker", **settings)
    assert has_code(folder)
    pairs = [(query, passage) for query in QUERIES for passage in [*PASSAGES, *TITLED]]
    ranker = CrossEncoder(str(folder), trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(ranker.predict(pairs), opened.scores(folder, pairs, tmp_path), atol=1e-5, rtol=1e-5)
    run_card(folder, tmp_path, count=2 if "title_separator" in settings else 3)
    ranked = ranker.rank("a b", PASSAGES)
    ours = opened.scores(folder, [("a b", passage) for passage in PASSAGES], tmp_path)
    assert [hit["corpus_id"] for hit in ranked] == sorted(range(len(ours)), key=lambda i: -ours[i])


@pytest.mark.parametrize(
    ("model", "tokenizer", "settings"),
    [
        (lambda: tiny.backbone("dense"), "bert", {}),
        (lambda: t5(T5EncoderModel), "bare", {"pooling": "mean"}),
        (gpt2, "bare", {"pooling": "last", "append_eos": True}),
    ],
)
def test_a_stage_starts_from_a_stage_and_reads_the_same_tokens(tmp_path, model, tokenizer, settings):
    folder = saved(tmp_path, model(), tokenizer, family="dense", **settings)
    columns = {"title": ["", "a", "b c"], "text": PASSAGES[1:4]}
    stores = [
        tiny.save_store(tmp_path / f"{i}.arrow", words, columns)
        for i, words in enumerate((tmp_path / "tokenizer", folder))
    ]
    before, after = (store.texts([0, 1, 2], 20) for store in stores)
    np.testing.assert_array_equal(before.ids, after.ids)
    assert (stores[0].begin, stores[0].between) == (stores[1].begin, stores[1].between)
    stage = tiny.settings("dense", query_length=8, passage_length=20, **settings)
    again = tiny.start(folder, stage)
    for (name, value), (_, first) in zip(
        again.named_parameters(), saved_model.load(folder)[0].named_parameters(), strict=True
    ):
        assert value.equal(first), name
    (tmp_path / "again").mkdir()
    saved_model.save(again, stage, folder, tmp_path / "again")
    for file in ("modules.json", "tokenizer.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        if (folder / file).exists():
            assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
