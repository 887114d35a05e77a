import pytest
import torch
from torch import nn

from led_pipeline.models import pooled_logits
from led_pipeline.models.pooled_logits import max_pooled_logits

LENGTHS = [10, 4, 4, 3, 0]  # tokens of each text


def plain_highest(hidden, weight, bias, lengths):
    logits = nn.functional.linear(hidden, weight, bias)
    none = logits.new_full(logits.shape[1:], torch.finfo(logits.dtype).min)
    return torch.stack([part.amax(dim=0) if len(part) else none for part in logits.split(lengths)])


def highest_input(bias: bool = True) -> tuple:
    random = torch.Generator().manual_seed(3)
    tensors = [torch.randn(size, generator=random).requires_grad_() for size in ((sum(LENGTHS), 16), (70, 16), (70,))]
    return *tensors[:2], tensors[2] if bias else None, LENGTHS


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("elements", "entries"), [(2**26, 2**18), (12 * 70, 50), (1, 1)])
def test_chunks_change_neither_values_nor_gradients(monkeypatch, bias, elements, entries):
    monkeypatch.setattr(pooled_logits, "CHUNK_ELEMENTS", {"cpu": elements})
    monkeypatch.setattr(pooled_logits, "CHUNK_ENTRIES", entries)
    actual, expected = highest_input(bias), highest_input(bias)
    upstream = torch.randn(5, 70, generator=torch.Generator().manual_seed(4))
    upstream[4] = 0  # a text without tokens: relu lets no gradient through
    upstream[upstream < 0.3] = 0
    for function, tensors in ((max_pooled_logits, actual), (plain_highest, expected)):
        value = function(*tensors)
        (value * upstream).sum().backward()
        tensors[0].value = value
    torch.testing.assert_close(actual[0].value, expected[0].value)
    for a, e in zip(actual[: 2 + bias], expected[: 2 + bias], strict=True):
        torch.testing.assert_close(a.grad, e.grad, rtol=1e-5, atol=1e-5)


def test_gradients_equal_finite_differences():
    random = torch.Generator().manual_seed(5)
    hidden, weight, bias = (torch.randn(s, generator=random, dtype=torch.float64) for s in ((8, 4), (9, 4), (9,)))
    inputs = [t.requires_grad_() for t in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(lambda h, w, b: max_pooled_logits(h, w, b, [4, 2, 2]), inputs)


def test_a_text_without_tokens_gets_the_lowest_float():
    assert (max_pooled_logits(*highest_input())[4] == torch.finfo(torch.float32).min).all()


def bfloat16_errors(function) -> list[float]:
    """Return the relative errors of value and gradients in bfloat16 autocast, for many texts that share their terms."""
    random = torch.Generator().manual_seed(6)
    shapes = (1600, 16), (30, 16), (30,)
    data = [torch.randn(shape, generator=random) for shape in shapes]
    upstream = torch.rand(400, 30, generator=random)

    def run(function, autocast: bool) -> list[torch.Tensor]:
        tensors = [t.clone().requires_grad_() for t in data]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = function(*tensors, [4] * 400)
        (value.float() * upstream).sum().backward()
        return [value.float(), *(t.grad for t in tensors)]

    exact = run(plain_highest, autocast=False)
    pairs = zip(run(function, autocast=True), exact, strict=True)
    return [((a - e).norm() / e.norm()).item() for a, e in pairs]


def test_bfloat16_autocast_is_as_accurate_as_with_plain_logits():
    for mine, plain in zip(bfloat16_errors(max_pooled_logits), bfloat16_errors(plain_highest), strict=True):
        assert mine < 1.1 * plain + 1e-4
