"""The loss of masked language models against plain loops over the padded logits of transformers."""

import math

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from led_pipeline.data import masking
from led_pipeline.data.tokens import Batch
from led_pipeline.models.masked_lm import MaskedLm
from led_pipeline.training.masked_objective import Part, bow_weight, masked_loss, trainable

CPU = torch.device("cpu")
SPECIAL = [0, 1, 2, 3, 4]
SIZE = len(tiny.VOCABULARY)


def vocabulary(stop: tuple[int, ...] = (6, 7)) -> masking.Vocabulary:
    is_stop = np.zeros(SIZE, dtype=bool)
    is_stop[[*SPECIAL, *stop]] = True
    return masking.Vocabulary(SIZE, 4, SPECIAL, is_stop)


def batches() -> tuple[Batch, masking.MaskedBatch]:
    """Return texts, longest first, and how they are masked."""
    ids, mask = tiny.batch(sorted(tiny.LENGTHS, reverse=True))
    ids[3, 1] = 6  # [CLS], a stop word, [SEP]; the last text is [CLS] [SEP]
    texts = Batch(ids[mask.bool()].numpy(), mask.sum(dim=1).numpy())
    numbers = masking.draw(0, 0, 0, len(texts), 12)
    return texts, masking.mask(texts, numbers, 0.3, vocabulary())


def by_loops(model: torch.nn.Module, texts: Batch, masked: masking.MaskedBatch, weight: float) -> torch.Tensor:
    """Return the loss of the batch, one passage and one token at a time."""
    tokens, words = [], []
    for start, length in zip(texts.starts, texts.lengths, strict=True):
        original, read = (each[start : start + length] for each in (texts.ids, masked.texts.ids))
        logits = model(input_ids=torch.from_numpy(read)[None]).logits[0]
        for place in masked.places_M:
            if start <= place < start + length:
                tokens.append(-torch.log_softmax(logits[place - start], 0)[texts.ids[place]])
        bag = set(original.tolist()) - {*SPECIAL, 6, 7}
        logs = torch.log_softmax(logits[0], 0)
        words.append(-sum(logs[word] for word in bag) / len(bag) if bag else torch.zeros(()))
    return sum(tokens) / len(tokens) + weight * sum(words) / len(words)


def other_model(name: str) -> torch.nn.Module:
    """Return a small masked language model of a type that `tiny` has no model of; mpnet's batches are padded."""
    words = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    more = tiny.ROTARY.get(name, {}) | ({"embedding_size": 16} if name == "electra" else {})
    return tiny.fill(AutoModelForMaskedLM.from_config(AutoConfig.for_model(name, **(tiny.BERT | words | more))))


def model_of(name: str) -> torch.nn.Module:
    return tiny.lexicon_backbone(name) if name in tiny.MASKED_LANGUAGE_MODELS else other_model(name)


@pytest.mark.parametrize("name", [*tiny.MASKED_LANGUAGE_MODELS, "electra", "xlm-roberta", "modernbert", "mpnet"])
def test_loss_and_gradients_are_those_of_plain_loops(name):
    texts, masked = batches()
    reference = model_of(name)
    by_loops(reference, texts, masked, 0.7).backward()
    expected = by_loops(reference, texts, masked, 0.7).item()

    encoder = MaskedLm(model_of(name))
    loss = masked_loss(trainable(encoder, recompute=False, layers=False), [Part.of(masked, True, CPU)], 5, 0.7)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert set(loss.terms) == {"mlm", "bow"} and loss.tokens == sum(tiny.LENGTHS)
    assert loss.terms["mlm"] + 0.7 * loss.terms["bow"] == pytest.approx(expected, rel=1e-5)
    gradients = {key: p.grad for key, p in reference.named_parameters() if p.grad is not None}
    assert max(gradient.abs().max().item() for gradient in gradients.values()) > 0.01
    for key, parameter in encoder.backbone.named_parameters():
        if key in gradients:
            torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_parts_of_a_batch_give_the_loss_and_gradient_of_the_whole(at_once):
    texts, _ = batches()
    numbers = masking.draw(0, 0, 0, len(texts), 12)
    results = []
    for size, recompute in ((5, False), (at_once, True)):
        parts = []
        for first in range(0, 5, size):
            lengths = texts.lengths[first : first + size]
            start = texts.starts[first]
            ids = texts.ids[start : start + lengths.sum()]
            masked = masking.mask(Batch(ids, lengths), numbers[first : first + size], 0.3, vocabulary())
            parts.append(Part.of(masked, True, CPU))
        encoder = MaskedLm(tiny.lexicon_backbone("bert"))
        loss = masked_loss(trainable(encoder, recompute, layers=recompute), parts, 5, 0.5)
        loss.total.backward()
        results.append((loss, {key: p.grad for key, p in encoder.named_parameters()}))
    (whole, gradients), (split, others) = results
    assert split.total.item() == pytest.approx(whole.total.item(), rel=1e-6)
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, rtol=1e-4, atol=1e-6, msg=key)


def test_without_words_the_loss_is_the_cross_entropy_of_transformers():
    texts, masked = batches()
    model = tiny.lexicon_backbone("bert")
    _, mask = tiny.batch(sorted(tiny.LENGTHS, reverse=True))
    labels, ids, real = torch.full(mask.shape, -100), torch.zeros_like(mask), mask.bool()
    ids[real] = torch.from_numpy(masked.texts.ids)
    flat = torch.full((len(texts.ids),), -100)
    flat[masked.places_M] = torch.from_numpy(masked.tokens_M)
    labels[real] = flat
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, labels=labels).loss.item()
    encoder = MaskedLm(tiny.lexicon_backbone("bert"))
    loss = masked_loss(trainable(encoder, False, False), [Part.of(masked, False, CPU)], 5, 0.0)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5) and set(loss.terms) == {"mlm"}


def test_half_precision_computes_losses_in_float32():
    _, masked = batches()
    encoder = MaskedLm(tiny.lexicon_backbone("bert"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_loss(trainable(encoder, False, False), [Part.of(masked, True, CPU)], 5, 1.0)
    assert loss.total.dtype == torch.float32
    whole = masked_loss(trainable(encoder, False, False), [Part.of(masked, True, CPU)], 5, 1.0)
    assert loss.total.item() == pytest.approx(whole.total.item(), rel=0.05)


def test_the_weight_of_the_words_falls_along_half_a_cosine():
    settings = tiny.masked_settings(bow_weight=2.0, bow_weight_end=0.1)
    weights = [bow_weight(settings, step, 101) for step in range(101)]
    assert weights[0] == 2.0 and weights[50] == pytest.approx(1.1) and weights[100] == pytest.approx(0.2)
    assert weights[25] == pytest.approx(0.2 + 1.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert bow_weight(settings, 0, 1) == 2.0  # a training of one step
    assert bow_weight(tiny.masked_settings(bow_weight=0), 3, 10) == 0


def test_a_batch_whose_passages_have_nothing_to_predict_has_the_loss_zero():
    texts = Batch(np.array([2, 1, 3]), np.array([3]))
    masked = masking.mask(texts, masking.draw(0, 0, 0, 1, 3), 0.3, vocabulary())
    model = trainable(MaskedLm(tiny.lexicon_backbone("bert")), False, False)
    loss = masked_loss(model, [Part.of(masked, True, CPU)], 1, 1.0)
    loss.total.backward()
    assert loss.total.item() == loss.terms["mlm"] == loss.terms["bow"] == 0
