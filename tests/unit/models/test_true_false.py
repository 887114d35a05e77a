"""Rankers that ask a T5 for two words, and the losses of rankers."""

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from led_pipeline.data.tokens import TokenStore, pairs
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.models import saved_model
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.training import ranker_losses, train

WORDS = ["Query:", "Document:", "Relevant:", "true", "false"]
CPU = torch.device("cpu")
SIZES = {"vocab_size": 36, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
QUERIES = ["a b c", "d", "x y z w"]
TITLES, TEXTS = ["", "t u", "v"], ["e f", "g", "h i j k l"]


def settings(**changes):
    defaults = {"scoring": "true_false", "template": "Query: {query} Document: {passage} Relevant:"}
    defaults |= {"true_word": "true", "false_word": "false", "ranking_loss": "bce", "ranking_margin": 1.0}
    return tiny.settings("ranker", **defaults | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("true_false")
    tiny.save_dataset(folder)
    tiny.save_bare_tokenizer(folder / "tokenizer", WORDS)
    config = T5Config(**SIZES, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    tiny.fill(T5ForConditionalGeneration(config)).save_pretrained(folder / "ranker")
    tiny.save_store(folder / "three_queries.arrow", folder / "tokenizer", {"text": QUERIES})
    tiny.save_store(folder / "three.arrow", folder / "tokenizer", {"title": TITLES, "text": TEXTS})
    for name, count in (("queries", 10), ("passages", 30)):
        tiny.save_store(folder / f"{name}.arrow", folder / "tokenizer", {"text": tiny.texts(count, 15)})
    return folder


def stores(folder) -> tuple[TokenStore, TokenStore]:
    names = ("three_queries.arrow", "three.arrow")
    return tuple(TokenStore.for_stage([folder / name], settings()) for name in names)


def expected(folder, text: str) -> float:
    """Return log p(true) - log p(false) of one written-out question, by transformers alone."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "ranker").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    ids = torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]])
    with torch.no_grad():
        logits = model(input_ids=ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[0, 0]
    true, false = (logits.log_softmax(dim=0)[tokenizer.convert_tokens_to_ids(w)] for w in ("true", "false"))
    return (true - false).item()


def test_a_score_equals_that_of_the_written_out_prompt(folder):
    model = tiny.start(folder / "ranker", settings(), folder / "tokenizer").eval()
    rows = np.array([0, 1, 2, 2], dtype=np.int32), np.array([1, 2, 0, 2], dtype=np.int32)
    scores = batches.score(model, *stores(folder), rows, settings(), CPU)
    for query, passage, score in zip(*rows, scores, strict=True):
        text = f"Query: {QUERIES[query]} Document: {TITLES[passage]} {TEXTS[passage]} Relevant:"
        assert score == pytest.approx(expected(folder, " ".join(text.split())), abs=1e-5)


def test_each_text_is_cut_to_its_own_length_and_the_template_never(folder):
    model = tiny.start(folder / "ranker", settings(), folder / "tokenizer").eval()
    batch = pairs(stores(folder)[0], np.array([2]), 2, stores(folder)[1], np.array([2]), 3)
    with torch.no_grad():
        score = model(to_packed_batch(batch, CPU)).item()
    assert score == pytest.approx(expected(folder, "Query: x y Document: v h i Relevant:"), abs=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "bce", "margin", "soft_margin"])
def test_a_true_false_ranker_trains_and_loads_again(folder, tmp_path, loss):
    train.train(tiny.training(folder, settings(max_steps=2, ranking_loss=loss), tmp_path / "model"))
    model, stored = saved_model.load(tmp_path / "model")
    assert stored.scoring == "true_false"
    first = tiny.start(folder / "ranker", settings(), folder / "tokenizer")
    batch = pairs(stores(folder)[0], np.array([0]), 8, stores(folder)[1], np.array([0]), 20)
    with torch.no_grad():
        assert (
            abs(model.eval()(to_packed_batch(batch, CPU)).item() - first.eval()(to_packed_batch(batch, CPU)).item())
            > 1e-4
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"template": "{passage} {query}"}, r"template: expected \{query\} and then \{passage\} in it"),
        ({"true_word": "true false"}, "true_word: it is cut into 2 tokens, expected a word that is one token"),
    ],
)
def test_error_names_a_prompt_that_cannot_be_used(folder, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        tiny.start(folder / "ranker", settings(**changes), folder / "tokenizer")


# --- losses

SCORES = torch.tensor([[2.0, 0.5, 3.0], [0.0, -1.0, 0.25]])


def test_smoothed_labels_of_rankers_are_spread_over_candidates_or_over_both_words():
    first = torch.zeros(2, dtype=torch.long)
    expected = 0.8 * ranker_losses.softmax(SCORES) - 0.2 * SCORES.log_softmax(dim=1).mean()
    torch.testing.assert_close(ranker_losses.softmax(SCORES, smoothing=0.2), expected)
    torch.testing.assert_close(expected, F.cross_entropy(SCORES, first, label_smoothing=0.2))
    labels = torch.tensor([[1, 0, 0]] * 2)
    both = torch.stack([torch.zeros_like(SCORES), SCORES], dim=-1).view(-1, 2)
    words = F.cross_entropy(both, labels.view(-1), label_smoothing=0.2)
    torch.testing.assert_close(ranker_losses.bce(SCORES, smoothing=0.2), words)


def test_softmax_and_bce_are_their_formulas_and_bce_is_the_cross_entropy_of_the_two_words():
    labels = torch.tensor([[1.0, 0.0, 0.0]] * 2)
    by_hand = -(SCORES.sigmoid().log() * labels + (-SCORES).sigmoid().log() * (1 - labels)).mean()
    torch.testing.assert_close(ranker_losses.bce(SCORES), by_hand)
    true_false = torch.stack([SCORES, torch.zeros_like(SCORES)], dim=-1).view(-1, 2)  # the difference is the score
    torch.testing.assert_close(ranker_losses.bce(SCORES), F.cross_entropy(true_false, 1 - labels.view(-1).long()))
    torch.testing.assert_close(ranker_losses.softmax(SCORES), -SCORES.log_softmax(dim=1)[:, 0].mean())


def test_margins_equal_torchs_over_each_positive_and_negative():
    positive, negative = SCORES[:, :1].expand(-1, 2).reshape(-1), SCORES[:, 1:].reshape(-1)
    ones = torch.ones(4)
    for gap in (0.5, 1.0):
        hinge = F.margin_ranking_loss(positive, negative, ones, margin=gap)
        torch.testing.assert_close(ranker_losses.margin(SCORES, gap=gap), hinge)
    torch.testing.assert_close(ranker_losses.soft_margin(SCORES), F.soft_margin_loss(positive - negative, ones))
