"""Stages whose layers are compiled: the same gradients, one graph, and no other code for batches of other sizes."""

import shutil
from collections.abc import Iterator

import pytest
import tiny
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from led_pipeline.models import backbone, compiled
from led_pipeline.models.backbone import PackedBatch, hidden_states, use_attention_within_texts
from led_pipeline.models.compiled import compile_layers
from led_pipeline.training import modules, objectives

SIZES = [[9, 2, 5], [12, 12, 3, 7], [4, 30], [20, 6, 6, 6, 5], [3, 2], [40, 11, 8, 2, 2, 2]]  # lengths of texts


@pytest.fixture(autouse=True)
def no_compiled_code():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    tiny.save_dataset(folder)
    return folder


def gradients(folder, family: str, **changes) -> list[Tensor]:
    """Return the loss and the gradients of a step."""
    settings = tiny.settings(family, **changes)
    stores = folder / "queries.arrow", [folder / "passages.arrow"]
    data = objectives.TrainingData.read(folder / "trainset.arrow", *stores, settings)
    torch.manual_seed(0)  # of adapters
    model = modules.trainable(tiny.start(folder / family, settings), settings).train()
    objective = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
    rows = range(settings.batch_size)
    loss = objective(model, data, list(rows), slice(0, len(rows)), settings, torch.device("cpu")).total
    loss.backward()
    return [loss, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("dense", {}),
        ("lexicon", {"gradient_checkpointing": True, "gradient_cache": 3}),
        ("ranker", {"gradient_checkpointing": True}),
        ("dense", {"lora": {"rank": 2, "dropout": 0}}),
    ],
)
def test_compiled_layers_give_the_same_gradients(folder, monkeypatch, family, changes):
    monkeypatch.setattr(compiled, "COMPILER", "aot_eager")
    plain, generated = (gradients(folder, family, compile=each, **changes) for each in (False, True))
    for actual, expected in zip(generated, plain, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def of_texts(cu_seqlens: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the rows of each text, (heads, tokens, size of a head) per tensor."""
    parts = [tensor.transpose(0, 1).tensor_split(cu_seqlens[1:-1].long(), dim=1) for tensor in tensors]
    yield from zip(*parts, strict=True)


def probabilities(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(query @ key.transpose(1, 2) / query.shape[2] ** 0.5, dim=2)


@torch.library.custom_op("led_tests::attend", mutates_args=())
def attend(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """An operation that takes what FlashAttention's kernel takes, and that torch.compile does not look into."""
    assert longest == cu_seqlens.diff().max()
    return torch.cat([(probabilities(q, k) @ v).transpose(0, 1) for q, k, v in of_texts(cu_seqlens, query, key, value)])


@torch.library.custom_op("led_tests::attend_backward", mutates_args=())
def attend_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = []
    for g, q, k, v in of_texts(cu_seqlens, gradient, query, key, value):
        shares = probabilities(q, k)
        of_shares = g @ v.transpose(1, 2)
        of_logits = shares * (of_shares - (of_shares * shares).sum(2, keepdim=True)) / q.shape[2] ** 0.5
        three = of_logits @ k, of_logits.transpose(1, 2) @ q, shares.transpose(1, 2) @ g
        gradients.append([each.transpose(0, 1) for each in three])
    one, two, three = (torch.cat(parts) for parts in zip(*gradients, strict=True))
    return one, two, three


attend.register_fake(lambda query, *_: torch.empty_like(query))
attend_backward.register_fake(lambda _, query, key, value, __: tuple(map(torch.empty_like, (query, key, value))))
attend.register_autograd(
    lambda context, gradient: (*attend_backward(gradient.contiguous(), *context.saved_tensors), None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:4]),
)


@pytest.fixture
def kernel(monkeypatch):
    """Let attention be one operation of the graph, as on a GPU."""
    monkeypatch.setattr(backbone, "has_flash_kernel", lambda query: True)
    call = lambda projected, texts, *_: attend(*projected, texts.cu_seqlens, texts.longest)  # noqa: E731
    monkeypatch.setattr(backbone, "_attend_by_kernel", call)


def packed_batches() -> list[PackedBatch]:
    return [tiny.unpadded(*tiny.batch(lengths, seed)) for seed, lengths in enumerate(SIZES)]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("model", ["bert", "distilbert", "roberta", "modernbert"])
@pytest.mark.parametrize("training", [False, True])
def test_a_pass_is_one_graph_for_batches_of_all_sizes(monkeypatch, model, training):
    counter = CompileCounter()
    monkeypatch.setattr(compiled, "COMPILER", counter)
    layers = tiny.rotary(model) if model in tiny.ROTARY else tiny.lexicon_backbone(model)
    use_attention_within_texts(layers.train(training))
    with torch.set_grad_enabled(training):
        expected = [hidden_states(layers, texts) for texts in packed_batches()]
        compile_layers(layers)
        for texts, plain in zip(packed_batches(), expected, strict=True):
            torch.testing.assert_close(hidden_states(layers, texts), plain)
    assert counter.frame_count == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler here")
@pytest.mark.usefixtures("kernel")
def test_code_that_is_generated_gives_the_same_gradients():
    layers, gradients = tiny.backbone("dense").train(), []
    layers.pooler.requires_grad_(False)  # as in a dense stage: its output is not used
    use_attention_within_texts(layers)
    for compile_first in (False, True):
        if compile_first:
            compile_layers(layers)
        layers.zero_grad()
        for texts in packed_batches()[:3]:
            hidden_states(layers, texts).square().sum().backward()
        gradients.append([p.grad for p in layers.parameters() if p.grad is not None])
    for actual, expected in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
