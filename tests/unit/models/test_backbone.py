from functools import partial

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from transformers import (
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from led_pipeline.data.tokens import Batch
from led_pipeline.models import backbone
from led_pipeline.models.backbone import PackedBatch, hidden_states, padded_hidden_states, to_packed_batch
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.ranker import Ranker

CPU = torch.device("cpu")
LENGTHS = [9, 2, 5, 12, 3, 5, 12, 2]
SMALL = {"vocab_size": len(tiny.VOCABULARY), "max_position_embeddings": 64}


def distilbert() -> nn.Module:
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0, "attention_dropout": 0.0}
    return tiny.fill(DistilBertModel(DistilBertConfig(**SMALL, **sizes)))


MODELS = {
    "bert": lambda: tiny.backbone("dense"),
    "distilbert": distilbert,
    "electra": lambda: tiny.fill(ElectraModel(ElectraConfig(**tiny.BERT, embedding_size=16))),
    "roberta": lambda: tiny.lexicon_backbone("roberta").roberta,
    "xlm-roberta": lambda: tiny.fill(XLMRobertaModel(XLMRobertaConfig(**tiny.BERT, pad_token_id=1))),
    "camembert": lambda: tiny.fill(CamembertModel(CamembertConfig(**tiny.BERT, pad_token_id=1))),
    **{name: partial(tiny.rotary, name) for name in tiny.ROTARY},
    "mpnet, which is padded": lambda: tiny.fill(MPNetModel(MPNetConfig(**tiny.BERT))),
}


def flat(lengths=LENGTHS, types: bool = False) -> PackedBatch:
    ids, mask = tiny.batch(lengths, seed=1)
    return tiny.unpadded(ids, mask, (ids % 2) * mask if types else None)


def test_texts_are_packed_longest_first_and_rows_return_in_input_order():
    batch = Batch(np.array([2, 7, 3, 2, 8, 9, 3, 2, 3]), np.array([3, 4, 2]), np.array([0, 1, 1, 0, 0, 1, 1, 0, 1]))
    texts = to_packed_batch(batch, CPU)
    assert texts.ids_N.tolist() == [2, 8, 9, 3, 2, 7, 3, 2, 3]
    assert texts.positions_N.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert texts.types_N.tolist() == [0, 0, 1, 1, 0, 1, 1, 0, 1]
    assert texts.cu_seqlens.tolist() == [0, 4, 7, 9]
    assert texts.runs == [(1, 4), (1, 3), (1, 2)]
    assert texts.restore(torch.tensor([[4.0], [3.0], [2.0]])).tolist() == [[3.0], [4.0], [2.0]]
    assert flat().runs == [(2, 12), (1, 9), (2, 5), (1, 3), (2, 2)]


def test_parts_of_a_batch_equal_separate_batches():
    texts = flat(types=True)
    parts = list(texts.parts(3))
    assert [part.runs for part in parts] == [[(2, 12), (1, 9)], [(2, 5), (1, 3)], [(2, 2)]]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert [part.cu_seqlens.tolist() for part in parts] == [[0, 12, 24, 33], [0, 5, 10, 13], [0, 2, 4]]
    for name in ("ids_N", "positions_N", "types_N"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(texts, name))


def same(actual: torch.Tensor, expected: torch.Tensor, model: nn.Module, tolerance: float) -> None:
    """Compare values, and the gradients of all parameters."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float32)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad((value.float() * upstream).sum(), parameters, allow_unused=True)
        for value in (actual, expected)
    ]
    for gradient, reference in zip(*gradients, strict=True):
        if reference is not None:
            torch.testing.assert_close(
                gradient, reference, rtol=tolerance, atol=tolerance * max(1, reference.abs().max().item())
            )


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_gradients_equal_the_padded_computation(name):
    model, texts = MODELS[name](), flat()
    backbone.use_attention_within_texts(model)
    same(hidden_states(model, texts), padded_hidden_states(model, texts), model, 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_equal_those_of_each_text_alone(name):
    model, (ids, mask) = MODELS[name](), tiny.batch(LENGTHS, seed=1)
    backbone.use_attention_within_texts(model)
    order = sorted(range(len(LENGTHS)), key=lambda i: -LENGTHS[i])
    with torch.no_grad():
        alone = torch.cat([model(input_ids=ids[i : i + 1, : LENGTHS[i]])[0][0] for i in order])
        torch.testing.assert_close(hidden_states(model, tiny.unpadded(ids, mask)), alone, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_close_to_the_padded_computation():
    model, texts = tiny.backbone("dense"), flat()
    backbone.use_attention_within_texts(model)
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = hidden_states(model, texts), padded_hidden_states(model, texts)
    error = (actual - expected).norm() / expected.norm()
    assert error < 1e-2  # an element of bfloat16 has an error of 4e-3


@pytest.mark.parametrize("training", [False, True])
def test_gradient_checkpointing_changes_nothing(training):
    plain, checkpointed = (DenseEncoder(tiny.backbone("dense"), pooling="mean") for _ in range(2))
    checkpointed.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    gradients = []
    for model in (plain, checkpointed):
        model.train(training)
        model(flat()).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_attention_dropout_acts_in_training():
    encoder, texts = DenseEncoder(tiny.backbone("dense", attention_probs_dropout_prob=0.5)), flat()
    assert torch.equal(encoder(texts), encoder(texts))
    encoder.train()
    assert not torch.equal(encoder(texts), encoder(texts))


@pytest.mark.parametrize("types", [0, 2])
def test_a_ranker_scores_pairs_as_transformers_does(types):
    model, (ids, mask) = tiny.backbone("ranker", type_vocab_size=types or 1), tiny.batch(LENGTHS, seed=1)
    type_ids = {"token_type_ids": (ids % 2) * mask} if types else {}
    expected = model(input_ids=ids, attention_mask=mask, **type_ids).logits[:, 0]
    same(Ranker(model)(flat(types=True)), expected, model, 1e-5)


def test_a_saved_configuration_does_not_name_our_attention():
    model = tiny.backbone("dense")
    backbone.use_attention_within_texts(model)
    assert model.config._attn_implementation == backbone.ATTENTION
    assert backbone.ATTENTION not in model.config.to_json_string()


def test_the_gpu_kernel_accepts_our_arguments():
    names = [argument.name for argument in torch.ops.aten._flash_attention_forward.default._schema.arguments]
    assert names[:11] == [
        "query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal",
        "return_debug_mask", "scale",
    ]  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_vectors_on_a_gpu_equal_the_padded_computation(dtype):
    device = torch.device("cuda")
    model = DenseEncoder(tiny.backbone("dense", hidden_size=64)).to(device)
    lengths = np.random.default_rng(0).integers(2, 60, 100)
    ids = np.random.default_rng(1).integers(5, 50, lengths.sum())
    texts = to_packed_batch(Batch(ids, lengths), device)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        actual, expected = hidden_states(model.backbone, texts), padded_hidden_states(model.backbone, texts)
    same(actual, expected, model, 1e-5 if dtype == torch.float32 else 2e-2)
