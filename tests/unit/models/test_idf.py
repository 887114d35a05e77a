"""Queries without inference: bags of words, tables of weights, and their training."""

import json
import math

import numpy as np
import pytest
import tiny
import torch

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inference import encode
from led_pipeline.models import idf, saved_model
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.training import train

SPECIAL = range(5)
TABLE = {"a": 3.5, "b": 0.25, "##c": 7.0, "[SEP]": 9.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idf")
    tiny.save_dataset(folder)
    (folder / "table.json").write_text(json.dumps(TABLE))
    return folder


def settings(folder, **changes):
    defaults = {"query_encoder": "idf", "idf": str(folder / "table.json"), "flops_queries": 0.0}
    return tiny.settings("lexicon", **defaults | changes)


def load(folder, chosen):
    return tiny.start(folder / "lexicon", chosen, folder / "tokenizer", [folder / "passages.arrow"])


@pytest.mark.parametrize("table", [False, True])
def test_a_query_vector_equals_sentence_transformers(folder, table):
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    tokenizer, texts = tiny.save_tokenizer(folder / "tokenizer"), ["a b a", "abc zz", "cab b ~", ""]
    store = tiny.save_store(folder / "four.arrow", folder / "tokenizer", {"text": texts})
    chosen = settings(folder) if table else settings(folder, query_encoder="bag_of_words", idf=None)
    model = load(folder, chosen)
    weights = idf.read_table(folder / "table.json", tokenizer, len(tiny.VOCABULARY)) if table else None
    peer = SparseStaticEmbedding(tokenizer, weights, frozen=True)
    expected = peer(peer.preprocess(texts))["sentence_embedding"]
    expected[:, SPECIAL] = 0  # [UNK] counts there
    rows = encode.sparse_rows(encoder_of(model, "query"), store, np.arange(4), 20, torch.device("cpu"))
    actual = np.zeros(expected.shape, dtype=np.float32)
    for i in range(4):
        actual[i, rows["terms"][i]] = rows["weights"][i]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0)
    assert actual[0].any() and not actual[3].any()


def test_unlisted_tokens_weigh_1_and_special_tokens_0(folder):
    model = load(folder, settings(folder))
    names = dict(zip(tiny.VOCABULARY, model.query.final_V.tolist(), strict=True))
    assert (names["a"], names["b"], names["##c"], names["d"]) == (3.5, 0.25, 7.0, 1.0)
    assert all(names[tiny.VOCABULARY[i]] == 0 for i in SPECIAL)


def test_a_table_of_the_collection_counts_passages_not_occurrences(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(idf, "AT_ONCE", 2)
    texts = {"title": ["a a", "", "b"], "text": ["a c", "a", "c c b"]}
    store = tiny.save_store(tmp_path / "p.arrow", folder / "tokenizer", texts)
    weights = dict(zip(tiny.VOCABULARY, idf.inverse_document_frequencies(store, len(tiny.VOCABULARY)), strict=True))
    for token, df in {"a": 2, "b": 1, "c": 2, "d": 0}.items():
        assert weights[token].item() == pytest.approx(math.log(1 + (3 - df + 0.5) / (df + 0.5)), rel=1e-6)


def test_a_table_of_the_collection_equals_brute_force(folder):
    store = TokenStore([folder / "passages.arrow"])
    frequencies = idf.document_frequencies(store, len(tiny.VOCABULARY))
    for token in range(5, len(tiny.VOCABULARY)):
        assert frequencies[token] == sum(token in store.texts([row], 500).ids for row in range(len(store)))
    assert frequencies[5:].any()


def test_a_fixed_table_stays_and_a_trained_one_learns_at_its_own_rate(folder, tmp_path):
    changes = {"max_steps": 2, "learning_rate": 1e-6, "warmup_fraction": 0.0, "idf_trained": True}
    tables = {}
    for name, overrides in (("fixed", {"idf_trained": False}), ("slow", {}), ("fast", {"idf_learning_rate": 0.1})):
        chosen = settings(folder, **changes | overrides)
        train.train(tiny.training(folder, chosen, tmp_path / name))
        tables[name] = read_json(tmp_path / name / "idf.json")
    assert {token: tables["fixed"][token] for token in ("a", "b", "##c")} == {"a": 3.5, "b": 0.25, "##c": 7.0}
    moved = {name: max(abs(table[t] - tables["fixed"][t]) for t in table) for name, table in tables.items()}
    assert 0 < moved["slow"] < 1e-5
    assert moved["fast"] == pytest.approx(0.15, rel=0.2), "AdamW's first steps are as long as the rate: 0.1, then 0.05"
    again = saved_model.load(tmp_path / "fast")[0]
    expected = [tables["fast"][token] for token in tiny.VOCABULARY]
    np.testing.assert_array_equal(again.query.final_V.tolist(), np.float32(expected))


def test_a_stage_inherits_the_table_of_its_initial_stage(folder, tmp_path):
    chosen = settings(folder, idf="collection")
    (tmp_path / "model").mkdir()
    first = load(folder, chosen)
    saved_model.save(first, chosen, folder / "tokenizer", tmp_path / "model")
    second = tiny.start(tmp_path / "model", settings(folder, idf=None), folder / "tokenizer")
    torch.testing.assert_close(second.query.final_V, first.query.final_V, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "expected a JSON object from token to weight, got a list"),
        ('{"a": 1,', "not valid JSON"),
        ('{"nowhere": 1}', "token 'nowhere' is not in the stage's tokenizer"),
        ('{"a": "1"}', "the weight of 'a' is '1', expected a finite number"),
        ('{"a": NaN}', "the weight of 'a' is nan, expected a finite number"),
    ],
)
def test_error_names_an_invalid_table(folder, tmp_path, text, sentence):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=sentence):
        load(folder, settings(folder, idf=str(tmp_path / "t.json")))


def test_error_names_a_missing_table(folder):
    with pytest.raises(InputError, match=r"idf: no file '.*lexicon/idf\.json'"):
        load(folder, settings(folder, idf=None))
