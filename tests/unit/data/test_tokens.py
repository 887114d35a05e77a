import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from led_pipeline.data import tables
from led_pipeline.data.tables import read_arrow, write_strings
from led_pipeline.data.tokens import TokenStore, pairs, title_and_text, tokenise
from led_pipeline.files.errors import InputError

COUNT = 300
QUERIES = tiny.texts(COUNT, 40, seed=1)
TITLES = tiny.texts(COUNT, 40, seed=2)
TEXTS = tiny.texts(COUNT, 60, seed=3)
LENGTHS = [4, 5, 6, 7, 8, 17, 32, 64, 128]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    tiny.save_tokenizer(folder / "tokenizer")
    tiny.save_store(folder / "queries.arrow", folder / "tokenizer", {"text": QUERIES})
    tiny.save_store(folder / "passages.arrow", folder / "tokenizer", {"title": TITLES, "text": TEXTS})
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")


def ids_of(batch) -> list[list[int]]:
    return parts_of(batch.ids, batch)


def parts_of(values, batch) -> list[list[int]]:
    """Cut one value per token into the texts."""
    return [part.tolist() for part in np.split(values, np.cumsum(batch.lengths)[:-1])]


@pytest.mark.parametrize("length", LENGTHS)
def test_titles_and_texts_are_cut_like_a_pair_by_transformers(folder, tokenizer, length):
    expected = tokenizer(TITLES, TEXTS, truncation="longest_first", max_length=length)["input_ids"]
    assert ids_of(TokenStore([folder / "passages.arrow"]).texts(range(COUNT), length)) == expected


@pytest.mark.parametrize("length", LENGTHS)
def test_queries_are_cut_like_a_single_text_by_transformers(folder, tokenizer, length):
    expected = tokenizer(QUERIES, truncation=True, max_length=length)["input_ids"]
    assert ids_of(TokenStore([folder / "queries.arrow"]).texts(range(COUNT), length)) == expected


@pytest.mark.parametrize(("query_length", "passage_length"), [(8, 20), (32, 128), (128, 6)])
def test_a_cross_encoder_reads_both_sides_as_the_bi_encoder_cuts_them(folder, tokenizer, query_length, passage_length):
    rows = np.random.default_rng(0).permutation(COUNT)
    stores = [TokenStore([folder / f"{name}.arrow"]) for name in ("queries", "passages")]
    batch = pairs(stores[0], np.arange(COUNT), query_length, stores[1], rows, passage_length)
    left = tokenizer(QUERIES, truncation=True, max_length=query_length)["input_ids"]
    cut = {"truncation": "longest_first", "max_length": passage_length}
    right = tokenizer([TITLES[r] for r in rows], [TEXTS[r] for r in rows], **cut)["input_ids"]
    assert ids_of(batch) == [a + b[1:] for a, b in zip(left, right, strict=True)]
    assert parts_of(batch.types, batch) == [[0] * len(a) + [1] * (len(b) - 1) for a, b in zip(left, right, strict=True)]


def test_a_short_pair_is_read_like_a_pair_by_transformers(tmp_path, tokenizer, folder):
    store = tiny.save_store(tmp_path / "texts.arrow", folder / "tokenizer", {"text": TEXTS})
    queries = TokenStore([folder / "queries.arrow"])
    batch = pairs(queries, np.arange(COUNT), 64, store, np.arange(COUNT), 64)
    expected = tokenizer(QUERIES, TEXTS, return_token_type_ids=True)
    assert ids_of(batch) == expected["input_ids"]
    assert parts_of(batch.types, batch) == expected["token_type_ids"]


def test_batches_of_two_kinds_follow_one_another(folder):
    stores = [TokenStore([folder / f"{name}.arrow"]) for name in ("queries", "passages")]
    parts = [stores[0].texts([5, 0], 16), stores[1].texts([7], 32), stores[1].texts([9, 1], 8)]
    batch = parts[0].followed_by(*parts[1:])
    assert ids_of(batch) == [ids for part in parts for ids in ids_of(part)]
    assert len(batch) == 5


def test_a_passage_without_title_is_a_single_text(tmp_path, folder, tokenizer):
    columns = {"title": ["", "a"], "text": ["b c", "b c"]}
    store = tiny.save_store(tmp_path / "p.arrow", folder / "tokenizer", columns)
    assert ids_of(store.texts([0, 1], 10)) == [tokenizer("b c")["input_ids"], tokenizer("a", "b c")["input_ids"]]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_passage_without_title_may_be_read_with_an_empty_one(tmp_path, folder, tokenizer, length):
    columns = {"title": ["", TITLES[1], ""], "text": [TEXTS[0], TEXTS[1], ""]}
    tiny.save_store(tmp_path / "p.arrow", folder / "tokenizer", columns)
    settings = tiny.import_settings("dense", untitled="empty_title")
    store = TokenStore.for_stage([tmp_path / "p.arrow"], settings)
    cut = {"truncation": "longest_first", "max_length": length}
    # What a pair of an empty text and a text is to transformers: [CLS] [SEP] text [SEP].
    assert ids_of(store.texts(range(3), length)) == tokenizer(columns["title"], columns["text"], **cut)["input_ids"]
    assert store.lengths(range(3), length).tolist() == store.texts(range(3), length).lengths.tolist()
    queries = TokenStore.for_stage([folder / "queries.arrow"], settings)
    assert ids_of(queries.texts([0], length)) == [
        tokenizer(QUERIES[0], truncation=True, max_length=length)["input_ids"]
    ]
    crossed = pairs(queries, [0], 64, store, [0], length)
    expected = tokenizer(QUERIES[0])["input_ids"] + tokenizer("", TEXTS[0], **cut)["input_ids"][1:]
    assert ids_of(crossed) == [expected]


def test_an_empty_query_is_its_special_tokens(tmp_path, folder):
    store = tiny.save_store(tmp_path / "q.arrow", folder / "tokenizer", {"text": ["", "a"]})
    assert ids_of(store.texts([0], 10)) == [[2, 3]]


def test_text_that_spells_a_special_token_is_read_like_transformers_reads_it(tmp_path, folder, tokenizer):
    texts = ["a [SEP] b", "[CLS]", "[MASK]x"]
    store = tiny.save_store(tmp_path / "q.arrow", folder / "tokenizer", {"text": texts})
    assert ids_of(store.texts(range(3), 10)) == tokenizer(texts)["input_ids"]


@pytest.mark.parametrize(
    ("title", "text", "room", "expected"),
    [
        (3, 4, 7, (3, 4)),
        (2, 9, 7, (2, 5)),
        (9, 2, 7, (5, 2)),
        (9, 8, 7, (4, 3)),  # the odd token goes to the longer side
        (8, 9, 7, (3, 4)),
        (8, 8, 7, (3, 4)),
        (9, 9, 8, (4, 4)),
    ],
)
def test_the_longer_side_is_cut_first(title, text, room, expected):
    assert title_and_text(title, text, room) == expected


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_in_order_are_the_whole(folder, tmp_path, monkeypatch, shards):
    monkeypatch.setattr(tables, "ROW_GROUP", 64)  # shards begin within row groups
    columns = {"id": [str(i) for i in range(COUNT)], "title": TITLES, "text": TEXTS}
    write_strings(tmp_path / "p.parquet", [columns], list(columns))
    paths = [tmp_path / f"{shard}.arrow" for shard in range(shards)]
    for shard, path in enumerate(paths):
        tokenise(tmp_path / "p.parquet", str(folder / "tokenizer"), 512, shard, shards, path)
    parts, whole = TokenStore(paths), TokenStore([folder / "passages.arrow"])
    assert len(parts) == COUNT
    rows = np.random.default_rng(1).permutation(COUNT)
    np.testing.assert_array_equal(parts.lengths(rows, 32), whole.lengths(rows, 32))
    np.testing.assert_array_equal(parts.texts(rows, 32).ids, whole.texts(rows, 32).ids)


def test_more_shards_than_texts_leave_some_empty(folder, tmp_path):
    write_strings(tmp_path / "q.parquet", [{"id": ["0", "1"], "text": ["a b", "c"]}], ["id", "text"])
    paths = [tmp_path / f"{shard}.arrow" for shard in range(5)]
    for shard, path in enumerate(paths):
        tokenise(tmp_path / "q.parquet", str(folder / "tokenizer"), 512, shard, 5, path)
    store = TokenStore(paths)
    assert store.lengths([0, 1], 8).tolist() == [4, 3]
    assert ids_of(store.texts([1, 0], 8)) == [[2, 7, 3], [2, 5, 6, 3]]


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_are_those_of_the_texts_that_are_read(folder, length):
    for name in ("queries", "passages"):
        store = TokenStore([folder / f"{name}.arrow"])
        assert store.lengths(range(COUNT), length).tolist() == [
            len(ids) for ids in ids_of(store.texts(range(COUNT), length))
        ]


def test_no_more_than_max_tokens_are_stored(folder, tmp_path, tokenizer):
    store = tiny.save_store(tmp_path / "q.arrow", folder / "tokenizer", {"text": TEXTS}, max_tokens=16)
    assert store.lengths(range(COUNT), 512).max() == 18
    expected = tokenizer(TEXTS, truncation=True, max_length=16)["input_ids"]
    assert ids_of(store.texts(range(COUNT), 16)) == expected


@pytest.mark.parametrize(("size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_ids_are_16_bits_wide_up_to_65536_entries(tmp_path, size, dtype):
    words = [*tiny.SPECIAL, *(f"w{i}" for i in range(size - 5))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{token.strip('[]').lower()}_token": token for token in tiny.SPECIAL}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(tmp_path / "large")
    store = tiny.save_store(tmp_path / "q.arrow", tmp_path / "large", {"text": [f"w0 {words[-1]}"]})
    assert read_arrow(tmp_path / "q.arrow")[0]["text"].values.dtype == dtype
    assert store.vocabulary == size
    assert store.texts([0], 8).ids.tolist() == [2, 5, size - 1, 3]


def test_error_names_the_special_tokens_that_a_tokenizer_lacks(tmp_path):
    backend = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(InputError, match=r"plain': it has no cls and no sep token"):
        tiny.save_store(tmp_path / "q.arrow", tmp_path / "plain", {"text": ["a"]})
    assert not (tmp_path / "q.arrow").exists()


def test_a_store_needs_a_shard():
    with pytest.raises(ValueError, match="at least one shard"):
        TokenStore([])
