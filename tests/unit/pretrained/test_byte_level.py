"""Prefixes and end tokens with a byte-level tokenizer like those of GPT-2, Llama 3 and RoBERTa."""

import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore, pairs

TEXTS = ["deep sea", "sea shells by the shore", "  she sells", "über straße", "the", "x"]
PREFIX = "Instruct: find it\nquery: "
LENGTHS = [20, 40, 64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tokenizers of a decoder, whose only special token is a leading <s>, and of RoBERTa."""
    folder = tmp_path_factory.mktemp("byte_level")
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    for name in ("decoder", "roberta"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
        tokenizer.train_from_iterator([*TEXTS * 3, PREFIX, "query: sea", "query: the"] * 5, trainer)
        ends = "<s> $A </s>" if name == "roberta" else "<s> $A"
        ids = [(token, tokenizer.token_to_id(token)) for token in special]
        both = "<s> $A </s> </s> $B </s>" if name == "roberta" else "<s> $A $B"
        tokenizer.post_processor = processors.TemplateProcessing(single=ends, pair=both, special_tokens=ids)
        names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        names |= {"cls_token": "<s>", "sep_token": "</s>"} if name == "roberta" else {}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder / name)
        tiny.save_store(folder / f"{name}.arrow", folder / name, {"text": TEXTS})
        tiny.save_store(folder / f"{name}.titled.arrow", folder / name, {"text": TEXTS, "title": ["", *TEXTS[1:]]})
    return folder


def read(
    folder, name: str, length: int, prefix: str = "", append_eos: bool = False
) -> tuple[PreTrainedTokenizerFast, list[list[int]]]:
    """Return the tokenizer and the ids of every text as a stage encodes them."""
    settings = tiny.import_settings("dense", query_prefix=prefix, query_length=length, append_eos=append_eos)
    store = TokenStore.for_stage([folder / f"{name}.arrow"], settings)
    batch = with_prefix(store, "query", folder / name, settings).texts(range(len(TEXTS)), length)
    ids = [part.tolist() for part in np.split(batch.ids, np.cumsum(batch.lengths)[:-1])]
    return AutoTokenizer.from_pretrained(folder / name), ids


@pytest.mark.parametrize("length", LENGTHS)
def test_a_decoder_tokenises_prefix_and_text_separately_with_one_end_token(folder, length):
    tokenizer, encoded = read(folder, "decoder", length, PREFIX, append_eos=True)
    prefix = tokenizer(PREFIX.rstrip(" "), add_special_tokens=False)["input_ids"]
    room = length - len(prefix) - 2
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"][:room] for text in TEXTS]
    assert encoded == [[tokenizer.bos_token_id, *prefix, *ids, tokenizer.eos_token_id] for ids in expected]
    assert max(map(len, encoded)) <= length


@pytest.mark.parametrize("length", LENGTHS)
def test_roberta_reads_one_token_at_each_end_and_the_prefix_behind_the_first(folder, length):
    tokenizer, encoded = read(folder, "roberta", length, PREFIX)
    together = [f"{PREFIX.rstrip(' ')}{text}" for text in TEXTS]
    for ids, text, whole in zip(encoded, TEXTS, together, strict=True):
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert not {tokenizer.cls_token_id, tokenizer.sep_token_id} & set(ids[1:-1])
        if len(ids) < length:
            assert tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=False) == whole, text


def test_the_first_word_after_a_prefix_is_tokenised_as_at_the_start_of_a_text(folder):
    """Tokenised together, the space would belong to the word; so the trailing space of a prefix is removed."""
    tokenizer, encoded = read(folder, "decoder", 64, "query: ")
    words = tokenizer.convert_ids_to_tokens(encoded[4])
    assert words == ["<s>", *tokenizer.tokenize("query:"), "the"]
    assert tokenizer.tokenize("query: the") == [*tokenizer.tokenize("query:"), "Ġthe"]


def test_a_line_break_at_the_end_of_a_prefix_is_kept(folder):
    tokenizer, encoded = read(folder, "decoder", 64, "find it\n")
    assert tokenizer.decode(encoded[4]) == "<s>find it\nthe"


def test_a_cut_text_keeps_its_end_token_and_a_space_at_its_beginning_stays(folder):
    tokenizer, encoded = read(folder, "decoder", 4, append_eos=True)
    for ids, text in zip(encoded, TEXTS, strict=True):
        inside = tokenizer(text, add_special_tokens=False)["input_ids"][:2]
        assert ids == [tokenizer.bos_token_id, *inside, tokenizer.eos_token_id]
    assert tokenizer.decode(read(folder, "decoder", 64)[1][2]) == "<s>  she sells"


def test_roberta_reads_two_separators_between_title_and_text_and_between_query_and_passage(folder):
    """That is RoBERTa's format of a pair; BERT's, with one separator, is in test_tokens.py."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "roberta")
    queries, titled = (TokenStore([folder / f"roberta.{name}"]) for name in ("arrow", "titled.arrow"))
    rows = np.arange(len(TEXTS))
    for room in (64, 12):
        encoded = titled.texts(rows, room)
        ids = np.split(encoded.ids, encoded.starts[1:])
        expected = [tokenizer(TEXTS[0])["input_ids"], *(tokenizer(text, text)["input_ids"] for text in TEXTS[1:])]
        whole = [len(e) <= room for e in expected]
        assert [list(i) for i, w in zip(ids, whole, strict=True) if w] == [
            e for e, w in zip(expected, whole, strict=True) if w
        ]
        assert encoded.lengths.max() <= room and encoded.lengths.tolist() == titled.lengths(rows, room).tolist()
        assert all(list(i).count(tokenizer.sep_token_id) == 3 for i in ids[1:])
    both = pairs(queries, rows, 64, queries, rows[::-1], 64)
    expected = [tokenizer(q, p)["input_ids"] for q, p in zip(TEXTS, TEXTS[::-1], strict=True)]
    assert [list(i) for i in np.split(both.ids, both.starts[1:])] == expected


def test_a_pair_for_a_t5_like_ranker_has_no_end_token_inside(folder):
    store = TokenStore.for_stage([folder / "decoder.arrow"], tiny.import_settings("ranker", scoring="true_false"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "decoder")
    batch = pairs(store, np.array([0]), 16, store, np.array([1]), 32)
    assert tokenizer.decode(batch.ids) == "deep seasea shells by the shore"
    assert batch.types.tolist() == [0] * len(tokenizer.tokenize("deep sea")) + [1] * len(tokenizer.tokenize(TEXTS[1]))
