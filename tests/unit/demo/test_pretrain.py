import json
import sys
import unicodedata

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoTokenizer

from led_pipeline.data.tables import write_strings
from led_pipeline.demo import pretrain
from led_pipeline.demo.pretrain import SPECIAL, count_matrix, lsa_embeddings, train_tokenizer
from led_pipeline.files.errors import InputError

SETTINGS = {
    "vocabulary": 300,
    "hidden": 16,
    "layers": 2,
    "heads": 2,
    "intermediate": 32,
    "positions": 64,
    "dropout": 0.0,
    "output_scale": 0.1,
    "seed": 7,
}
TOPICS = ["apple pear plum cherry grape", "iron zinc copper silver gold", "piano violin flute drum harp"]


def texts(count: int = 90) -> list[str]:
    """Return texts of words of one topic each, all with some common words."""
    random = np.random.default_rng(0)
    return [" ".join([*random.choice(TOPICS[i % 3].split(), 4), "the", "of", "the"]) for i in range(count)]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Return the folder of a model made from the texts."""
    folder = tmp_path_factory.mktemp("pretrain")
    columns = {"id": [str(i) for i in range(90)], "title": [""] * 90, "text": texts()}
    write_strings(folder / "passages.parquet", [columns], list(columns))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("model", "again"):
            arguments = ["--passages", str(folder / "passages.parquet"), "--settings", json.dumps(SETTINGS)]
            patch.setattr(sys, "argv", ["pretrain", *arguments, "--out", str(folder / name)])
            pretrain.main()
    return folder / "model"


def test_camel_case_is_split_before_lower_casing():
    tokenizer = train_tokenizer(iter(["readFile read file"] * 20), 300)
    assert tokenizer.tokenize("readFile") == tokenizer.tokenize("read file")


@pytest.mark.parametrize(
    "words",
    [
        "कुल काल कील कूल कल",
        "かぎ かき パンダ ハンダ バンダ",
        "ma má mà mả mã mạ",
        "мой мои всё все",
        "ไม่ ไม้ ไม๊ ไหม ไม",
        "كتب كتّب كَتب كتاب",
        "ngon ngọn ngôn nên nền",
        "schon schön cote coté côté",
    ],
)
def test_words_that_differ_in_a_mark_are_different_words(words):
    tokenizer = train_tokenizer([words] * 20, 300)
    decomposed = [unicodedata.normalize("NFD", word) for word in words.split()]
    pieces = [tuple(tokenizer.tokenize(word)) for word in words.split()]
    assert len(set(pieces)) == len(pieces) and all("[UNK]" not in each for each in pieces)
    assert [tuple(tokenizer.tokenize(word)) for word in decomposed] == pieces


def test_one_text_in_two_codings_has_one_spelling():
    tokenizer = train_tokenizer(["ガス abc 가 fi x y"] * 20, 300)
    for text, other in [("ｶﾞｽ", "ガス"), ("ＡＢＣ", "abc"), ("ﬁ", "fi"), ("a\u00adbc", "abc"), ("x\u200by", "x y")]:
        assert tokenizer.tokenize(text) == tokenizer.tokenize(other)


@pytest.mark.parametrize(
    "text", ["中文句子没有标点", "ประเทศไทยมีเมืองหลวงชื่อกรุงเทพ", "ភាសាខ្មែរគ្មានដកឃ្លា", "မြန်မာဘာသာ", "かぎをさがしている"]
)
def test_long_text_without_blanks_keeps_all_its_letters(text):
    """Marks stay with their letters wherever a long run of text is cut."""
    tokenizer = train_tokenizer([text * 60, text], 300)
    for count in (1, 7, 60):
        pieces = tokenizer.tokenize(text * count)
        joined = "".join(piece.removeprefix("##") for piece in pieces)
        assert joined == unicodedata.normalize("NFKC", text * count)
        assert not any(unicodedata.category(piece[0]).startswith("M") for piece in pieces)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("กรุงเทพมหานคร", "ก รุ ง เท พ ม หา น ค ร"),
        ("ກິນເຂົ້າ", "ກິ ນ ເຂົ້າ"),
        ("ភាសាខ្មែរ", "ភា សា ខ្មែ រ"),
        ("မြန်မာဘာသာ", "မြန် မာ ဘာ သာ"),
        ("コーヒーを飲む", "コーヒー を 飲 む"),
        ("iPhoneรุ่นใหม่", "i phone รุ่ น ให ม่"),
    ],
)
def test_without_blanks_a_word_is_about_a_syllable(text, words):
    tokenizer = train_tokenizer([text] * 20, 300)
    assert tokenizer.tokenize(text) == [unicodedata.normalize("NFKC", word) for word in words.split()]


def test_a_letter_with_too_many_marks_is_no_endless_word():
    tokenizer = train_tokenizer(["a" + "\u0301" * 500, "b" * 500], 300)
    assert "[UNK]" not in tokenizer.tokenize("a" + "\u0301" * 500) + tokenizer.tokenize("b" * 500)


def test_passages_that_do_not_differ_are_an_error():
    same = ["one text"] * 40
    tokenizer = train_tokenizer(same, 300)
    with pytest.raises(InputError, match="nothing can be learned from these 40 passages"):
        lsa_embeddings(count_matrix(tokenizer, iter(same), len(tokenizer)), 3, seed=0)


def test_few_different_passages_have_no_vectors_of_noise():
    """The texts have two dimensions; the others must not give vectors to tokens that no passage holds."""
    few = ["apple pear", "iron zinc", "flute drum"] * 30
    tokenizer = train_tokenizer(few, 300)
    counts = count_matrix(tokenizer, iter(few), len(tokenizer))
    vectors = lsa_embeddings(counts, 12, seed=0)
    unused = np.bincount(counts.indices, minlength=len(tokenizer)) == 0
    assert unused.sum() > len(SPECIAL) and not vectors[unused].any()
    apple, pear, iron = (vectors[tokenizer.convert_tokens_to_ids(word)] for word in ("apple", "pear", "iron"))
    np.testing.assert_allclose(apple, pear, atol=1e-3)
    assert abs(apple @ iron) < 1e-3 * (apple @ apple)


def test_the_vocabulary_is_the_same_every_time():
    """The order of the trainer itself differs from call to call."""
    first, *others = (train_tokenizer(iter(texts()), 80).get_vocab() for _ in range(4))
    assert len(first) == 80 and [first[token] for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert all(other == first for other in others)


def test_special_tokens_surround_texts_and_pairs():
    tokenizer = train_tokenizer(iter(["ab ba"] * 20), 300)
    pair = tokenizer("ab", "ba", return_token_type_ids=True)
    assert tokenizer.decode(pair["input_ids"]) == "[CLS] ab [SEP] ba [SEP]"
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer.decode(tokenizer("ab")["input_ids"]) == "[CLS] ab [SEP]"


def test_other_libraries_separate_the_texts_of_a_pair_as_our_rankers_do(pretrained):
    pair = AutoTokenizer.from_pretrained(pretrained)("the pear", "the plum of iron")
    assert pair["token_type_ids"] == [0] * 4 + [1] * 5


def test_counts_are_those_of_each_text():
    tokenizer = train_tokenizer(iter(["ab ba"] * 20), 300)
    counts = count_matrix(tokenizer, iter(["ab ab ba", "", "ba"]), len(tokenizer)).toarray()
    ab, ba = tokenizer.convert_tokens_to_ids(["ab", "ba"])
    assert counts[:, [ab, ba]].tolist() == [[2, 1], [0, 0], [0, 1]]
    assert counts.sum() == 4


def test_words_of_a_topic_have_similar_vectors_and_rare_ones_longer_vectors():
    tokenizer = train_tokenizer(iter(texts()), 300)
    vectors = lsa_embeddings(count_matrix(tokenizer, iter(texts()), len(tokenizer)), 3, seed=0)
    norms = np.linalg.norm(vectors, axis=1)
    assert not norms[: len(SPECIAL)].any()

    def cosine(a: str, b: str) -> float:
        i, j = tokenizer.convert_tokens_to_ids([a, b])
        return float(vectors[i] @ vectors[j] / norms[i] / norms[j])

    same = [cosine(*topic.split()[:2]) for topic in TOPICS]
    other = [cosine("apple", "iron"), cosine("iron", "piano"), cosine("pear", "drum")]
    assert min(same) > max(other) + 0.3

    def idf(word: str) -> float:
        return float(np.log(91 / (sum(word in text.split() for text in texts()) + 1)))

    pear, gold, the = (norms[tokenizer.convert_tokens_to_ids(word)] for word in ("pear", "gold", "the"))
    assert idf("pear") != idf("gold")
    assert pear / gold == pytest.approx(idf("pear") / idf("gold"), rel=1e-4)
    assert the == idf("the") == 0


def test_too_few_passages_are_an_error_with_the_key_to_change():
    tokenizer = train_tokenizer(iter(texts(4)), 300)
    with pytest.raises(
        InputError, match=r"4 passages with \d+ word pieces are too few for 14 dimensions; lower stages\.\*\.hidden"
    ):
        lsa_embeddings(count_matrix(tokenizer, iter(texts(4)), len(tokenizer)), 14, seed=0)


def test_the_same_texts_make_the_same_bytes(pretrained):
    names = sorted(path.name for path in pretrained.iterdir())
    assert "model.safetensors" in names and "tokenizer.json" in names
    for name in names:
        assert (pretrained / name).read_bytes() == (pretrained.with_name("again") / name).read_bytes()


@torch.no_grad()
def test_an_untrained_dense_encoder_tells_topics_apart(pretrained):
    encoder = tiny.start(pretrained, tiny.import_settings("dense", pooling="mean", normalize=True))
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    batch = tokenizer(
        [words for topic in TOPICS for words in (topic[:10], topic[-10:])], padding=True, return_tensors="pt"
    )
    vectors = encoder(tiny.unpadded(batch["input_ids"], batch["attention_mask"]))
    similar = vectors @ vectors.T
    for topic in range(0, 6, 2):
        others = [i for i in range(6) if i // 2 != topic // 2]
        assert similar[topic, topic + 1] > similar[topic, others].max() + 0.2


@torch.no_grad()
def test_an_untrained_lexicon_encoder_gives_a_text_its_own_words(pretrained):
    encoder = tiny.start(pretrained, tiny.import_settings("lexicon"))
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    batch = tokenizer("apple plum", return_tensors="pt")
    weights = encoder(tiny.unpadded(batch["input_ids"], batch["attention_mask"]))[0]
    best = tokenizer.convert_ids_to_tokens(weights.topk(2).indices.tolist())
    assert sorted(best) == ["apple", "plum"]
