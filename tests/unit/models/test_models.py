import numpy as np
import pytest
import tiny
import torch

from led_pipeline.models.dense import DenseEncoder, pool
from led_pipeline.models.lexicon import LexiconEncoder, counting_positions, term_weights
from led_pipeline.models.ranker import Ranker

# B = texts, T = token positions, V = vocabulary entries


# --- DEN


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [False, True])
def test_dense_vectors_equal_sentence_transformers(pooling, normalize):
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    backbone, (ids, mask) = tiny.backbone("dense"), tiny.batch()
    hidden = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    features = Pooling(16, pooling)({"token_embeddings": hidden, "attention_mask": mask})
    expected = (Normalize()(features) if normalize else features)["sentence_embedding"]
    actual = DenseEncoder(backbone, pooling=pooling, normalize=normalize)(tiny.unpadded(ids, mask))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def test_mean_pooling_takes_each_texts_own_tokens():
    hidden, (_, texts) = torch.randn(6, 3), (None, tiny.unpadded(*tiny.batch([4, 2])))
    expected = torch.stack([hidden[:4].sum(dim=0) / 4, (hidden[4] + hidden[5]) / 2])
    torch.testing.assert_close(pool(hidden, texts, "mean"), expected)


def test_a_dense_vector_depends_neither_on_padding_nor_on_the_other_texts():
    encoder, (ids, mask) = DenseEncoder(tiny.backbone("dense"), pooling="mean"), tiny.batch()
    one = [tiny.unpadded(ids[i : i + 1], mask[i : i + 1]) for i in range(len(ids))]
    alone = torch.cat([encoder(texts) for texts in one])
    torch.testing.assert_close(encoder(tiny.unpadded(ids, mask)), alone, rtol=1e-5, atol=1e-6)


def test_dense_vectors_stay_float32_under_autocast():
    encoder, texts = DenseEncoder(tiny.backbone("dense"), pooling="mean", normalize=True), tiny.batch()
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encoder(tiny.unpadded(*texts))
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5), rtol=1e-6, atol=1e-6)


# --- LEX: which positions count


def test_the_first_and_the_last_real_token_do_not_count():
    counts = counting_positions(torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]))
    assert counts.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0]]


def test_all_real_tokens_count_when_special_ones_are_kept():
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    assert counting_positions(mask, keep_special_tokens=True).int().tolist() == mask.tolist()


def test_the_separator_after_a_title_counts(tmp_path):
    tiny.save_tokenizer(tmp_path / "tokenizer")
    store = tiny.save_store(tmp_path / "p.arrow", tmp_path / "tokenizer", {"title": ["a b"], "text": ["c"]})
    ids = torch.from_numpy(store.texts([0], 10).ids).unsqueeze(0)
    names = [tiny.VOCABULARY[i] for i in ids[counting_positions(torch.ones_like(ids))].tolist()]
    assert names == ["a", "b", "[SEP]", "c"]


def test_a_text_of_special_tokens_alone_has_no_weight():
    weights = LexiconEncoder(tiny.backbone("lexicon"))(tiny.unpadded(*tiny.batch()))
    assert weights[1].tolist() == [0.0] * len(tiny.VOCABULARY)
    assert all(weights[i].any() for i in (0, 2, 3, 4))


# --- LEX: weights


def weights_by_hand(logits_BTV: torch.Tensor, counts_BT: torch.Tensor) -> np.ndarray:
    weights = np.zeros((logits_BTV.shape[0], logits_BTV.shape[2]))
    for text, position in counts_BT.nonzero().tolist():
        weights[text] = np.maximum(weights[text], np.log1p(np.maximum(logits_BTV[text, position].double().numpy(), 0)))
    return weights


@pytest.mark.parametrize("keep", [False, True])
def test_a_weight_is_the_highest_log_1_plus_relu_over_counting_positions(keep):
    logits, (_, mask) = 3 * torch.randn(5, 12, 20, generator=torch.Generator().manual_seed(1)), tiny.batch()
    counts = counting_positions(mask, keep)
    np.testing.assert_allclose(term_weights(logits, counts), weights_by_hand(logits, counts), rtol=1e-6, atol=1e-7)


def test_negative_logits_weigh_nothing_and_padding_never_wins():
    logits = torch.tensor([[[-1.0, np.e - 1], [-2.0, 0.5], [99.0, 99.0]]])
    weights = term_weights(logits, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1.0]]))


def test_a_mask_that_does_not_fit_the_logits_is_refused():
    with pytest.raises(ValueError, match=r"mask \(2, 3\) does not fit logits \(2, 4, 5\)"):
        term_weights(torch.zeros(2, 4, 5), torch.ones(2, 3, dtype=torch.bool))


def test_weights_with_special_tokens_equal_sentence_transformers():
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    backbone, (ids, mask) = tiny.backbone("lexicon"), tiny.batch()
    with torch.no_grad():
        logits = backbone(input_ids=ids, attention_mask=mask).logits
        features = SpladePooling("max")({"token_embeddings": logits.clone(), "attention_mask": mask})
        actual = LexiconEncoder(backbone, keep_special_tokens=True)(tiny.unpadded(ids, mask))
    assert actual.any(dim=1).all()
    torch.testing.assert_close(actual, features["sentence_embedding"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("activation", "logarithms"), [("log1p", 1), ("log1p_twice", 2)])
def test_an_encoder_takes_one_logarithm_or_two(activation, logarithms):
    expected, (ids, mask) = tiny.backbone("lexicon"), tiny.batch()
    highest = term_weights(expected(input_ids=ids, attention_mask=mask).logits, counting_positions(mask)).expm1()
    for _ in range(logarithms):
        highest = highest.log1p()
    weights = LexiconEncoder(tiny.backbone("lexicon"), activation=activation)(tiny.unpadded(ids, mask))
    torch.testing.assert_close(weights, highest, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", tiny.MASKED_LANGUAGE_MODELS)
def test_the_encoder_gives_the_term_weights_of_the_plain_logits(name):
    plain, backbone, (ids, mask) = tiny.lexicon_backbone(name), tiny.lexicon_backbone(name), tiny.batch()
    expected = term_weights(plain(input_ids=ids, attention_mask=mask).logits, counting_positions(mask))
    encoder = LexiconEncoder(backbone)
    actual = encoder(tiny.unpadded(ids, mask))
    assert actual.dtype == torch.float32 and actual.any()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)

    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * upstream).sum().backward()
    (actual * upstream).sum().backward()
    gradients = {n: p.grad for n, p in backbone.named_parameters()}
    for parameter, value in plain.named_parameters():
        if value.grad is None:
            assert gradients[parameter] is None
        else:
            torch.testing.assert_close(gradients[parameter], value.grad, rtol=1e-4, atol=1e-5, msg=parameter)


def test_encoder_under_bfloat16_autocast_is_close_to_float32():
    encoder, (ids, mask) = LexiconEncoder(tiny.backbone("lexicon")), tiny.batch()
    expected = encoder(tiny.unpadded(ids, mask))
    with torch.autocast("cpu", torch.bfloat16):
        actual = encoder(tiny.unpadded(ids, mask))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.05)


# --- ranker


def test_a_ranker_gives_one_logit_per_pair_with_the_token_types():
    backbone, (ids, mask) = tiny.backbone("ranker"), tiny.batch([9, 7, 5])
    types = torch.tensor([[0] * 4 + [1] * 5, [0] * 3 + [1] * 4 + [0] * 2, [0] * 2 + [1] * 3 + [0] * 4])
    expected = backbone(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    scores = Ranker(backbone)(tiny.unpadded(ids, mask, types))
    assert scores.shape == (3,) and scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected[:, 0])
    assert not torch.allclose(scores, Ranker(backbone)(tiny.unpadded(ids, mask, torch.zeros_like(types))))


def test_a_ranker_without_token_types_is_not_given_any():
    backbone, (ids, mask) = tiny.backbone("ranker", type_vocab_size=1), tiny.batch([9, 7])
    expected = backbone(input_ids=ids, attention_mask=mask).logits[:, 0]
    torch.testing.assert_close(Ranker(backbone)(tiny.unpadded(ids, mask, mask)), expected)
