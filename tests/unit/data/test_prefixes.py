import json

import numpy as np
import pytest
import tiny
from transformers import PreTrainedTokenizerFast

from led_pipeline.data.prefixes import PrefixedStore, with_prefix, with_prefixes
from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.files.errors import InputError
from led_pipeline.models.saved_model import load
from led_pipeline.training import train
from led_pipeline.training.training_data import TrainingData

COUNT = 60
QUERIES = tiny.texts(COUNT, 20, seed=1)
TITLES = [title if i % 3 else "" for i, title in enumerate(tiny.texts(COUNT, 9, seed=2))]
TEXTS = tiny.texts(COUNT, 30, seed=3)
PREFIXES = {"query_prefix": "q u: ", "passage_prefix": "p a s: "}
LENGTHS = [(8, 9), (12, 16), (64, 64)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefixes")
    tiny.save_tokenizer(folder / "tokenizer")
    tiny.save_store(folder / "queries.arrow", folder / "tokenizer", {"text": QUERIES})
    tiny.save_store(folder / "passages.arrow", folder / "tokenizer", {"title": TITLES, "text": TEXTS})
    return folder


def texts_of(batch) -> list[list[int]]:
    return [part.tolist() for part in np.split(batch.ids, np.cumsum(batch.lengths)[:-1])]


def stores(folder, lengths) -> tuple[TokenStore, TokenStore]:
    settings = tiny.import_settings("dense", **PREFIXES, query_length=lengths[0], passage_length=lengths[1])
    names = {"query": "queries", "passage": "passages"}
    plain = {side: TokenStore([folder / f"{name}.arrow"]) for side, name in names.items()}
    return tuple(with_prefix(store, side, folder / "tokenizer", settings) for side, store in plain.items())


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_prefix_is_read_as_transformers_read_the_text_with_it(folder, lengths):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    queries, passages = stores(folder, lengths)
    expected = tokenizer([f"q u: {text}" for text in QUERIES], truncation=True, max_length=lengths[0])["input_ids"]
    batch = queries.texts(range(COUNT), lengths[0])
    assert texts_of(batch) == expected
    assert batch.lengths.tolist() == queries.lengths(range(COUNT), lengths[0]).tolist()
    bare = [i for i in range(COUNT) if not TITLES[i]]
    batch = passages.texts(bare, lengths[1])
    texts = [f"p a s: {TEXTS[i]}" for i in bare]
    assert texts_of(batch) == tokenizer(texts, truncation=True, max_length=lengths[1])["input_ids"]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_title_and_text_share_what_the_prefix_leaves(folder, lengths):
    """Four tokens of prefix follow [CLS]; the rest is the text, cut to a length that is shorter by four."""
    _, passages = stores(folder, lengths)
    plain = texts_of(TokenStore([folder / "passages.arrow"]).texts(range(COUNT), lengths[1] - 4))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    prefix = tokenizer("p a s :", add_special_tokens=False)["input_ids"]
    rows = texts_of(passages.texts(range(COUNT), lengths[1]))
    assert rows == [[ids[0], *prefix, *ids[1:]] for ids in plain]
    assert max(map(len, rows)) <= lengths[1]


def with_separator(folder, length: int, **changes) -> TokenStore:
    settings = tiny.import_settings("dense", title_separator=": ", passage_length=length, **changes)
    return with_prefix(TokenStore([folder / "passages.arrow"]), "passage", folder / "tokenizer", settings)


@pytest.mark.parametrize("prefix", ["", "p a s: "])
def test_a_title_separator_joins_title_and_text_as_one_text(folder, prefix):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    passages = with_separator(folder, 64, passage_prefix=prefix)
    texts = [f"{prefix}{title}: {text}" if title else prefix + text for title, text in zip(TITLES, TEXTS, strict=True)]
    batch = passages.texts(range(COUNT), 64)
    assert texts_of(batch) == tokenizer(texts)["input_ids"]
    assert batch.lengths.tolist() == passages.lengths(range(COUNT), 64).tolist()


@pytest.mark.parametrize("length", [7, 9, 16])
def test_a_title_separator_is_never_cut_off(folder, length):
    separator = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer").convert_tokens_to_ids(":")
    rows = texts_of(with_separator(folder, length).texts(range(COUNT), length))
    assert max(map(len, rows)) == length
    assert [row.count(separator) for row in rows] == [int(bool(title)) for title in TITLES]


def test_a_cross_encoder_reads_a_title_separator(folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    queries, rows = TokenStore([folder / "queries.arrow"]), np.arange(COUNT)
    joined = [f"{title}: {text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
    batch = pairs(queries, rows, 64, with_separator(folder, 64), rows, 64)
    assert texts_of(batch) == tokenizer(QUERIES, joined)["input_ids"]


def test_a_title_separator_that_fills_the_passage_is_refused(folder):
    with pytest.raises(InputError, match=r"title_separator: 5 tokens leave no room for a text in passage_length \(8\)"):
        settings = tiny.import_settings("dense", title_separator="a b c d e", passage_length=8)
        with_prefix(TokenStore([folder / "passages.arrow"]), "passage", folder / "tokenizer", settings)


def test_a_cross_encoder_reads_both_prefixes(folder):
    queries, passages = stores(folder, (12, 16))
    rows = np.arange(COUNT)
    batch = pairs(queries, rows, 12, passages, rows[::-1], 16)
    left, right = texts_of(queries.texts(rows, 12)), texts_of(passages.texts(rows[::-1], 16))
    assert texts_of(batch) == [a + b[1:] for a, b in zip(left, right, strict=True)]


def test_without_a_prefix_the_store_is_the_same(folder):
    store = TokenStore([folder / "queries.arrow"])
    for settings in (tiny.import_settings("dense", query_prefix=""), tiny.import_settings("dense")):
        assert with_prefix(store, "query", "no such tokenizer", settings) is store


def test_a_prefix_that_leaves_no_room_is_refused(folder):
    with pytest.raises(InputError, match=r"query_prefix: 3 tokens leave no room for a text in query_length \(6\)"):
        stores(folder, (6, 16))


def test_a_training_reads_its_prefixes_and_saves_them_with_the_model(tmp_path, monkeypatch):
    """The stores of the training have the prefixes, and led.json keeps them for the next stage and for encode."""
    tiny.save_dataset(tmp_path)
    stores = []
    monkeypatch.setattr(train, "with_prefixes", lambda *args: stores.append(with_prefixes(*args)) or stores[-1])
    settings = tiny.settings("dense", max_steps=1, **PREFIXES)
    train.train(tiny.training(tmp_path, settings, tmp_path / "out"))
    (data,) = stores
    assert isinstance(data, TrainingData) and isinstance(data.queries, PrefixedStore)
    config = json.loads((tmp_path / "out" / "led.json").read_text())
    assert {key: config[key] for key in PREFIXES} == PREFIXES
    _, loaded = load(tmp_path / "out")
    passages = with_prefix(TokenStore([tmp_path / "passages.arrow"]), "passage", tmp_path / "out", loaded)
    assert texts_of(passages.texts([3], 20)) == texts_of(data.passages.texts([3], 20))
