import pytest
import torch
from torch import nn

from led_pipeline.models import pooled_logits
from led_pipeline.models.pooled_logits import max_pooled_logits

LENGTHS = [10, 4, 4, 3, 0]  # tokens of each text


@pytest.fixture(params=[pooled_logits.by_length, pooled_logits.padded], ids=["by length", "padded"], autouse=True)
def way(request, monkeypatch):
    """Compute the highest logits on this processor as a processor does, or as a GPU does."""
    monkeypatch.setitem(pooled_logits.HIGHEST, "cpu", request.param)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[9, 9, 8, 8, 8, 2, 2, 1], [1, 7, 3, 0, 5, 5, 12], [0, 0, 3], [40, 1, 1, 1]])
@pytest.mark.parametrize("elements", [2**26, 20 * 6])
def test_each_entry_of_a_gradient_goes_to_one_token_with_the_highest_logit(monkeypatch, dtype, lengths, elements):
    monkeypatch.setattr(pooled_logits, "CHUNK_ELEMENTS", {"cpu": elements})
    random = torch.Generator().manual_seed(7)
    hidden = torch.randint(-2, 3, (sum(lengths), 3), generator=random).to(dtype).requires_grad_()  # many ties
    weight = torch.randint(-2, 3, (6, 3), generator=random).to(dtype)
    highest = max_pooled_logits(hidden, weight, None, lengths)
    lowest = torch.finfo(dtype).min
    for text, tokens in enumerate(hidden.detach().split(lengths)):
        for term in range(6):
            logits = tokens @ weight[term]
            assert highest[text, term] == (logits.max() if len(tokens) else lowest)
            if len(tokens):
                (gradient,) = torch.autograd.grad(highest[text, term], hidden, retain_graph=True)
                rows = [part.abs().sum(1) for part in gradient.split(lengths)]
                assert not sum(part.sum() for i, part in enumerate(rows) if i != text), "tokens of other texts"
                (token,) = rows[text].nonzero(as_tuple=True) if weight[term].any() else (logits.argmax().view(1),)
                assert len(token) == 1 and logits[token] == logits.max()
                assert not weight[term].any() or torch.equal(gradient.split(lengths)[text][token[0]], weight[term])


def test_without_any_token_all_texts_get_the_lowest_float():
    highest = max_pooled_logits(torch.zeros(0, 3, requires_grad=True), torch.ones(6, 3), None, [0, 0])
    assert highest.shape == (2, 6) and (highest == torch.finfo(torch.float32).min).all()


def test_padding_stays_below_an_eighth_or_a_few_tokens():
    lengths = sorted(torch.randint(1, 128, (336,), generator=torch.Generator().manual_seed(8)).tolist(), reverse=True)
    chunks = list(pooled_logits._padded_chunks(lengths, 2_198))
    assert [a for a, *_ in chunks] == [0, *(b for _, b, _ in chunks[:-1])] and chunks[-1][1] == 336
    for first, last, longest in chunks:
        tokens, area = sum(lengths[first:last]), (last - first) * longest
        assert area <= 2_198 and longest == lengths[first] and area - tokens <= max(64, tokens // 8)
    assert len(chunks) < 25
