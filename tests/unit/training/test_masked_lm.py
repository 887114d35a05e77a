"""A training of a masked language model: its folder, what it learns, its stop words, and errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models import saved_model
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.masked_lm import vocabulary_of
from led_pipeline.training import masked_lm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    tiny.save_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """Return the folder of a finished training of 140 steps on passages that repeat one letter."""
    texts = [" ".join(8 * [letter]) for letter in tiny.LETTERS]
    tiny.save_store(folder / "repeated.arrow", folder / "tokenizer", {"title": [""] * len(texts), "text": texts})
    settings = tiny.masked_settings(epochs=20, learning_rate=1e-2, stop_share=1)
    passages = [folder / "repeated.arrow"]
    masked_lm.train(tiny.masked_training(folder, settings, folder / "trained", passages=passages))
    return folder / "trained"


def log_of(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_both_losses_fall(trained):
    *lines, last = log_of(trained)
    assert last["finished"] and last["steps"] == 140 and lines[-1]["step"] == 140
    for term in ("mlm", "bow"):
        values = [line[term] for line in lines]
        assert np.mean(values[-10:]) < 0.5 * np.mean(values[:10]), (term, values)
    assert lines[0]["loss"] == pytest.approx(lines[0]["mlm"] + lines[0]["bow"], rel=1e-4)
    assert lines[-1]["loss"] == pytest.approx(lines[-1]["mlm"] + 0.1 * lines[-1]["bow"], rel=1e-4)
    assert lines[-1]["speed"]["passages_per_s"] > 0 and lines[-1]["speed"]["tokens_per_s"] > 0


def test_transformers_opens_the_folder_with_the_weights_of_the_training(folder, trained):
    model, words = AutoModelForMaskedLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    before = AutoModelForMaskedLM.from_pretrained(folder / "lexicon")
    assert words.get_vocab() == AutoTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
    inputs = words("a b [MASK] d", return_tensors="pt")
    assert not torch.allclose(model(**inputs).logits, before(**inputs).logits, atol=0.1)
    head = model.cls.predictions.decoder.weight
    assert head.data_ptr() == model.bert.embeddings.word_embeddings.weight.data_ptr()  # still tied
    names = {path.name for path in trained.iterdir()}
    assert {"settings.json", "software.json", "machine.json", "weights.json", "README.md", "train.jsonl"} <= names
    assert read_json(trained / "weights.json")["new"] == []
    assert read_json(trained / "settings.json")["masked"] == 0.3


@pytest.mark.parametrize("family", ["dense", "lexicon", "ranker"])
def test_other_stages_start_from_the_folder(folder, trained, family):
    encoder = saved_model.start(str(trained), tiny.settings(family), trained)
    model = AutoModelForMaskedLM.from_pretrained(trained)
    ours = encoder.backbone.get_input_embeddings().weight
    torch.testing.assert_close(ours, model.get_input_embeddings().weight)
    assert bool(encoder.backbone.origin.new) == (family == "ranker")
    if family == "dense":
        texts = TokenStore([folder / "passages.arrow"]).texts([3], 20)
        with torch.no_grad():
            hidden = model.bert(torch.from_numpy(texts.ids)[None])[0][0, 0]
            torch.testing.assert_close(encoder.eval()(to_packed_batch(texts, torch.device("cpu")))[0], hidden)


def test_an_epoch_visits_every_passage_with_a_token_once_in_another_order(folder, tmp_path):
    texts = tiny.texts(11, 6)
    texts[4] = ""
    store = tiny.save_store(tmp_path / "some.arrow", folder / "tokenizer", {"title": [""] * 11, "text": texts})
    settings = tiny.masked_settings(batch_size=5)
    words = vocabulary_of(str(folder / "tokenizer"), store, settings)
    rows = np.delete(np.arange(11), 4)
    passages = masked_lm.Passages(store, rows, words, settings, slice(0, 5), torch.device("cpu"))
    drawn = []
    passages.store = Recording(store, drawn)
    for step in range(6):
        passages.parts(step)
    epochs = [drawn[step] + drawn[step + 1] for step in (0, 2, 4)]
    assert all(sorted(epoch) == rows.tolist() for epoch in epochs)
    assert len({tuple(sorted(batch)) for batch in drawn}) == 6


class Recording:
    """A token store that notes the rows that are read."""

    def __init__(self, store, drawn):
        self.store, self.drawn = store, drawn

    def lengths(self, rows, length):
        return self.store.lengths(rows, length)

    def texts(self, rows, length):
        self.drawn.append(rows.tolist())
        return self.store.texts(rows, length)


def test_frequent_tokens_and_those_of_a_list_are_stop_words(folder, tmp_path):
    texts = ["a b", "a c", "a d", "b e", "a"] * 2
    store = tiny.save_store(tmp_path / "words.arrow", folder / "tokenizer", {"title": [""] * 10, "text": texts})
    file = tmp_path / "stop.txt"
    file.write_text("E\n\n  cf  \n")  # lower-cased by the tokenizer; the second word has two pieces

    def stop(**changes) -> set[str]:
        words = vocabulary_of(str(folder / "tokenizer"), store, tiny.masked_settings(**changes))
        return {tiny.VOCABULARY[i] for i in np.flatnonzero(words.stop)} - {*tiny.SPECIAL}

    assert stop(stop_share=0.5) == {"a"} and stop(stop_share=0.3) == {"a", "b"} and stop(stop_share=1) == set()
    assert stop(stop_share=1, stop_words=str(file)) == {"e", "c", "##f"}
    assert stop(stop_share=0.5, stop_words=str(file)) == {"a", "e", "c", "##f"}
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        stop(stop_words=str(tmp_path / "nowhere.txt"))


def test_an_edited_list_of_stop_words_begins_a_new_training(folder, tmp_path):
    file = tmp_path / "stop.txt"
    file.write_text("a\n")
    training = tiny.masked_training(folder, tiny.masked_settings(stop_words=str(file)), tmp_path / "out")
    before = training.fingerprint(1)
    assert training.fingerprint(1) == before != training.fingerprint(2)
    file.write_text("b\n")
    assert training.fingerprint(1) != before


def test_error_names_what_a_model_or_tokenizer_lacks(folder, tmp_path):
    training = tiny.masked_training(folder, tiny.masked_settings(), tmp_path / "out")
    with pytest.raises(InputError, match=r"dense.*lack .* that was saved with its masked-LM head$"):
        masked_lm.train(replace(training, init=str(folder / "dense"), checkpoints=tmp_path / "1"))
    with pytest.raises(InputError, match="passage_length: 65 tokens do not fit into the 64 positions"):
        masked_lm.train(replace(training, settings=tiny.masked_settings(passage_length=65)))
    bare = tmp_path / "bare"
    tiny.save_bare_tokenizer(bare)
    tiny.save_store(tmp_path / "bare.arrow", bare, {"title": ["", ""], "text": ["a b", "c"]})
    with pytest.raises(InputError, match="no mask and no cls and no sep token; masked_lm stages mask tokens"):
        masked_lm.train(replace(training, tokenizer=str(bare), passages=[tmp_path / "bare.arrow"]))
    tiny.rotary("llama").save_pretrained(tmp_path / "llama")
    with pytest.raises(InputError, match=r"no AutoModelForMaskedLM of the type llama, which .* the family masked_lm"):
        masked_lm.train(replace(training, init=str(tmp_path / "llama")))
    tiny.save_store(tmp_path / "empty.arrow", folder / "tokenizer", {"title": [""], "text": [""]})
    with pytest.raises(InputError, match="no passage with a token"):
        masked_lm.train(replace(training, passages=[tmp_path / "empty.arrow"]))
    assert not (tmp_path / "out").exists()
