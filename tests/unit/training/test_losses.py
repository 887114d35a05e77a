import math
from itertools import combinations
from types import SimpleNamespace

import pytest
import tiny
import torch
import torch.nn.functional as F

from led_pipeline.recipe.values import Teacher
from led_pipeline.training import losses, regularisers


def scores(queries: int, candidates: int, seed: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(queries, candidates, generator=torch.Generator().manual_seed(seed))


STUDENT, TEACHER = scores(5, 7, seed=1), scores(5, 7, seed=2)


def close(actual: torch.Tensor, expected: float, tolerance: float = 1e-5) -> None:
    assert actual.dtype == torch.float32 and actual.ndim == 0
    assert actual.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def gaps_by_hand(student, teacher, min_confidence=0.0) -> list[float]:
    """Return the student's gaps of the pairs of all queries, the teacher's preferred passage first."""
    gaps = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        order = sorted(range(len(t)), key=lambda i: -t[i])
        gaps += [s[a] - s[b] for a, b in combinations(order, 2) if t[a] - t[b] >= min_confidence]
    return gaps


def mean_hinge(gaps: list[float], margin: float = 0.0) -> float:
    return sum(max(0.0, margin - gap) for gap in gaps) / len(gaps)


# --- contrastive


def test_contrastive_is_the_mean_cross_entropy_of_the_positives():
    positives = [3, 0, 6, 2, 2]
    by_hand = [-math.log(softmax(row)[p]) for row, p in zip(STUDENT.tolist(), positives, strict=True)]
    close(losses.contrastive(STUDENT, torch.tensor(positives)), sum(by_hand) / 5)


def test_smoothed_labels_are_those_of_torch():
    positives = torch.tensor([3, 0, 6, 2, 2])
    expected = F.cross_entropy(STUDENT.double(), positives, label_smoothing=0.1).item()
    close(losses.contrastive(STUDENT, positives, None, 0.1), expected)
    assert abs(expected - losses.contrastive(STUDENT, positives).item()) > 0.01


def test_contrastive_is_computed_in_float32_from_half_precision():
    half, positives = (100 * STUDENT).half(), torch.zeros(5, dtype=torch.long)
    close(losses.contrastive(half, positives), F.cross_entropy(half.double(), positives).item())


# --- rank


@pytest.mark.parametrize("margin", [0.0, 0.7])
@pytest.mark.parametrize("min_confidence", [0.0, 1.5])
def test_rank_is_the_mean_hinge_over_pairs(margin, min_confidence):
    expected = mean_hinge(gaps_by_hand(STUDENT, TEACHER, min_confidence), margin)
    close(losses.rank(STUDENT, TEACHER, margin=margin, min_confidence=min_confidence), expected)


@pytest.mark.parametrize(("with_positive", "pairs"), [(True, 528), (False, 496)])
def test_32_negatives_make_528_pairs_with_the_positive_and_496_without(with_positive, pairs):
    student, teacher = scores(2, 33, seed=3), scores(2, 33, seed=4)
    cut = slice(None) if with_positive else slice(1, None)
    gaps = gaps_by_hand(student[:, cut], teacher[:, cut])
    assert len(gaps) == 2 * pairs
    stanza = Teacher(**tiny.TEACHER | {"stage": "lex", "loss": "rank", "with_positive": with_positive})
    close(losses.distil(student, teacher, stanza), mean_hinge(gaps))
    # With a margin that every pair violates, the mean tells how many pairs there are.
    close(losses.distil(student, teacher, stanza.model_copy(update={"margin": 1e3})), 1e3 - sum(gaps) / len(gaps))


def test_rank_averages_over_pooled_pairs_and_not_over_queries():
    student, teacher = (
        torch.tensor([[0.0, 1.0, 2.0], [0.0, 4.0, 0.0]]),
        torch.tensor([[2.0, 1.0, 0.0], [9.0, 0.0, 0.0]]),
    )
    # With a confidence of 2, the first query keeps the pair (0, 2), hinge 2, the second (0, 1) and (0, 2): 4 and 0.
    close(losses.rank(student, teacher, min_confidence=2.0), (2 + 4 + 0) / 3)


def test_rank_is_zero_when_the_student_orders_like_the_teacher():
    assert losses.rank(TEACHER * 0.1 + 5, TEACHER).item() == 0.0


def test_rank_depends_only_on_the_order_of_the_teacher():
    expected = losses.rank(STUDENT, TEACHER)
    for monotone in (lambda t: t**3, lambda t: t.exp(), lambda t: 100 * t - 7):
        torch.testing.assert_close(losses.rank(STUDENT, monotone(TEACHER)), expected, rtol=0, atol=0)


def test_rank_does_not_change_when_a_constant_is_added_to_a_query_of_the_student():
    shift = torch.tensor([[4.0], [-8.0], [0.5], [16.0], [0.0]])
    torch.testing.assert_close(losses.rank(STUDENT + shift, TEACHER), losses.rank(STUDENT, TEACHER))


def test_rank_keeps_ties_of_the_teacher_in_list_order():
    student = torch.tensor([[1.0, 3.0]])
    close(losses.rank(student, torch.zeros(1, 2)), 2.0)
    close(losses.rank(student.flip(1), torch.zeros(1, 2)), 0.0)


@pytest.mark.parametrize("columns", [7, 1])
def test_rank_and_its_gradient_are_zero_without_pairs(columns):
    student = STUDENT[:, :columns].clone().requires_grad_()
    loss = losses.rank(student, TEACHER[:, :columns], min_confidence=1e6)
    loss.backward()
    assert loss.item() == 0.0
    assert not student.grad.any()


def test_gradient_of_rank_reaches_the_wrongly_ordered_pairs_alone():
    student = torch.tensor([[3.0, 2.0, 4.0]], requires_grad=True)
    losses.rank(student, torch.tensor([[9.0, 5.0, 1.0]])).backward()
    # Pairs (0, 2) and (1, 2) of three are wrong: each moves both passages by a third.
    torch.testing.assert_close(student.grad, torch.tensor([[-1 / 3, -1 / 3, 2 / 3]]))


# --- distributions


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_scaled_by_the_squared_temperature(temperature):
    rows = zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)
    by_hand = [
        divergence(softmax([v / temperature for v in t]), softmax([v / temperature for v in s])) for s, t in rows
    ]
    close(losses.kl(STUDENT, TEACHER, temperature=temperature), temperature**2 * sum(by_hand) / 5)


def test_kl_is_zero_for_a_teacher_that_differs_by_a_constant():
    close(losses.kl(STUDENT, STUDENT + 3.25, temperature=3.0), 0.0, tolerance=1e-6)


def test_kl_stays_finite_where_a_probability_underflows():
    student = torch.tensor([[0.0, -500.0]], requires_grad=True)
    loss = losses.kl(student, torch.tensor([[-500.0, 0.0]]))
    loss.backward()
    close(loss, 500.0)
    assert student.grad.isfinite().all()


def test_listnet_is_the_cross_entropy_under_the_teacher():
    by_hand = [
        -sum(p * math.log(q) for p, q in zip(softmax(t), softmax(s), strict=True))
        for s, t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)
    ]
    close(losses.listnet(STUDENT, TEACHER), sum(by_hand) / 5)


def test_listnet_stays_finite_where_a_probability_underflows():
    close(losses.listnet(torch.tensor([[0.0, -500.0]]), torch.tensor([[-500.0, 0.0]])), 500.0)


def test_dual_is_the_mean_of_both_divergences():
    by_hand = [
        (divergence(softmax(p), softmax(q)) + divergence(softmax(q), softmax(p))) / 2
        for p, q in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)
    ]
    close(losses.dual(STUDENT, TEACHER), sum(by_hand) / 5)
    close(losses.dual(TEACHER, STUDENT), sum(by_hand) / 5)
    close(losses.dual(STUDENT, STUDENT), 0.0, tolerance=1e-6)


# --- pairs and margins


def test_ranknet_weighs_log_sigmoid_by_the_teacher_gap():
    total = 0.0
    for s, t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True):
        order = sorted(range(len(t)), key=lambda i: -t[i])
        total += sum((t[a] - t[b]) * math.log1p(math.exp(-(s[a] - s[b]))) for a, b in combinations(order, 2))
    close(losses.ranknet(STUDENT, TEACHER), total / 5)


def test_ranknet_is_never_negative():
    for seed in range(20):
        student, teacher = scores(2, 6, seed, scale=30.0), scores(2, 6, seed + 100, scale=30.0)
        assert losses.ranknet(student, teacher).item() >= 0


def test_margin_mse_compares_the_gaps_to_the_positive():
    errors = [
        ((s[0] - s[i]) - (t[0] - t[i])) ** 2
        for s, t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True)
        for i in range(1, 7)
    ]
    close(losses.margin_mse(STUDENT, TEACHER), sum(errors) / len(errors))


def test_margin_mse_softmax_compares_all_ordered_pairs_with_the_diagonal():
    errors = []
    for s, t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True):
        p, tau = softmax(s), softmax(t)
        errors += [((tau[i] - tau[j]) - (p[i] - p[j])) ** 2 for i in range(7) for j in range(7)]
    assert len(errors) == 5 * 49
    close(losses.margin_mse_softmax(STUDENT, TEACHER), sum(errors) / len(errors))


# --- flops


def test_flops_is_the_sum_of_squared_mean_weights():
    close(regularisers.flops(torch.tensor([[1.0, 0.0, -2.0], [3.0, 0.0, 2.0]])), 2**2 + 0 + 2**2)


def test_flops_of_half_the_rows_is_another_quantity():
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    close(regularisers.flops(weights), 0.5)
    close((regularisers.flops(weights[:1]) + regularisers.flops(weights[1:])) / 2, 1.0)


# --- the objective that a stanza names


@pytest.mark.parametrize("with_positive", [True, False])
@pytest.mark.parametrize("name", losses.DISTILLATION)
def test_a_stanza_picks_its_objective_options_and_columns(name, with_positive):
    options = {"rank": {"margin": 0.3, "min_confidence": 0.2}, "kl": {"temperature": 3.0}}.get(name, {})
    options_of_all = {"margin": 0.3, "min_confidence": 0.2, "temperature": 3.0, "with_positive": with_positive}
    stanza = Teacher(stage="lex", loss=name, **options_of_all)
    student, teacher = (STUDENT, TEACHER) if with_positive else (STUDENT[:, 1:], TEACHER[:, 1:])
    expected = getattr(losses, name)(student, teacher, **options)
    assert losses.distil(STUDENT, TEACHER, stanza).item() == expected.item()


@pytest.mark.parametrize("name", losses.DISTILLATION)
def test_a_stored_teacher_needs_no_gradient_and_the_students_is_finite(name):
    student = STUDENT.clone().requires_grad_()
    losses.DISTILLATION[name](student, TEACHER).backward()
    assert student.grad.isfinite().all() and student.grad.any()


@pytest.mark.parametrize("name", losses.DISTILLATION)
def test_objectives_are_computed_in_float32_from_bfloat16(name):
    expected = losses.DISTILLATION[name](STUDENT.bfloat16().float(), TEACHER.bfloat16().float())
    actual = losses.DISTILLATION[name](STUDENT.bfloat16(), TEACHER.bfloat16())
    assert actual.dtype == torch.float32 and actual.item() == expected.item()


# --- what sentence-transformers defines alike

B, C, D = 6, 5, 16
QUERIES = torch.randn(B, D, generator=torch.Generator().manual_seed(5))
PASSAGES = torch.randn(B, C, D, generator=torch.Generator().manual_seed(6))
GOLD = scores(B, C, seed=7)
OWN = torch.einsum("bd,bcd->bc", QUERIES, PASSAGES)
COLUMNS = [QUERIES, *PASSAGES.unbind(1)]


@pytest.fixture(scope="module")
def peer():
    from sentence_transformers.sentence_transformer import losses as dense
    from sentence_transformers.sparse_encoder import losses as sparse
    from sentence_transformers.util import dot_score

    return SimpleNamespace(dense=dense, sparse=sparse, dot_score=dot_score)


def test_margin_mse_equals_sentence_transformers(peer):
    close(
        losses.margin_mse(OWN, GOLD),
        peer.dense.MarginMSELoss(None).compute_loss_from_embeddings(COLUMNS, GOLD).item(),
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_equals_sentence_transformers(peer, temperature):
    loss = peer.dense.DistillKLDivLoss(None, temperature=temperature)
    expected = loss.compute_loss_from_embeddings(COLUMNS, GOLD).item()
    close(losses.kl(OWN, GOLD, temperature=temperature), expected)


def test_flops_equals_sentence_transformers(peer):
    weights = QUERIES.relu()
    close(regularisers.flops(weights), peer.sparse.FlopsLoss(None).compute_loss_from_embeddings(weights).item())


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_contrastive_over_the_batch_equals_sentence_transformers(peer, scale):
    loss = peer.dense.MultipleNegativesRankingLoss(None, scale=scale, similarity_fct=peer.dot_score)
    expected = loss.compute_loss_from_embeddings(COLUMNS, None).item()
    in_batch = scale * QUERIES @ PASSAGES.flatten(0, 1).T
    close(losses.contrastive(in_batch, torch.arange(B) * C), expected)


# --- candidates that do not count

MASKED = torch.tensor(
    [[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0]], dtype=torch.bool
)


def scores_of(seed: int) -> torch.Tensor:
    return 3 * torch.randn(MASKED.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def rest(scores: torch.Tensor) -> list[torch.Tensor]:
    """Return each query's unmasked candidates, as a batch of one query."""
    return [row[~masked].unsqueeze(0) for row, masked in zip(scores, MASKED, strict=True)]


WEIGHTS = {  # weight of a query's own value in that of the batch
    "rank": lambda n: n * (n - 1) / 2,
    "margin_mse": lambda n: n - 1,
    "margin_mse_pairs": lambda n: n * n,
    "margin_mse_softmax": lambda n: n * n,
}


@pytest.mark.parametrize("name", losses.DISTILLATION)
def test_distillation_ignores_masked_candidates(name):
    student, teacher = scores_of(1), scores_of(2)
    values, weights = [], []
    for mine, stored in zip(rest(student), rest(teacher), strict=True):
        weight = WEIGHTS.get(name, lambda n: 1)(mine.shape[1])
        values.append(losses.DISTILLATION[name](mine, stored).item() if weight else 0.0)
        weights.append(weight)
    expected = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    assert losses.DISTILLATION[name](student, teacher, masked=MASKED).item() == pytest.approx(expected, rel=1e-5)
    unmasked = losses.DISTILLATION[name](student, teacher, masked=torch.zeros_like(MASKED))
    assert unmasked.item() == pytest.approx(losses.DISTILLATION[name](student, teacher).item(), rel=1e-6)


@pytest.mark.parametrize("name", [*losses.DISTILLATION, "contrastive", "dual"])
def test_masked_candidates_get_no_gradient(name):
    student = scores_of(1).requires_grad_()
    if name == "contrastive":
        losses.contrastive(student, torch.zeros(4, dtype=torch.long), MASKED).backward()
    elif name == "dual":
        losses.dual(student, scores_of(2), MASKED).backward()
    else:
        losses.DISTILLATION[name](student, scores_of(2), masked=MASKED).backward()
    assert student.grad.isfinite().all() and not student.grad[MASKED].any()
    assert student.grad[~MASKED].any()


def test_a_label_is_spread_over_the_candidates_that_are_not_masked():
    student, first = scores_of(1).requires_grad_(), torch.zeros(1, dtype=torch.long)
    alone = [F.cross_entropy(row, first, label_smoothing=0.2).item() for row in rest(student.detach())]
    loss = losses.contrastive(student, torch.zeros(4, dtype=torch.long), MASKED, 0.2)
    assert loss.item() == pytest.approx(sum(alone) / 4, rel=1e-5)
    loss.backward()
    assert student.grad.isfinite().all() and not student.grad[MASKED].any()


def test_contrastive_and_dual_ignore_masked_candidates():
    first, second = scores_of(1), scores_of(2)
    positives = torch.zeros(4, dtype=torch.long)
    alone = [losses.contrastive(row, positives[:1]).item() for row in rest(first)]
    assert losses.contrastive(first, positives, MASKED).item() == pytest.approx(sum(alone) / 4, rel=1e-5)
    alone = [losses.dual(a, b).item() for a, b in zip(rest(first), rest(second), strict=True)]
    assert losses.dual(first, second, MASKED).item() == pytest.approx(sum(alone) / 4, rel=1e-5)


def test_scores_are_normalised_over_unmasked_candidates():
    systems = [scores_of(1), scores_of(2)]
    mixed = losses.ensemble(systems, [1.0, 2.0], normalize=True, scale=5.0, masked=MASKED)
    for i, rows in enumerate(zip(*map(rest, systems), strict=True)):
        expected = losses.ensemble(rows, [1.0, 2.0], normalize=True, scale=5.0)[0]
        torch.testing.assert_close(mixed[i][~MASKED[i]], expected)


@pytest.mark.parametrize("accepts_mask", [True, False])
def test_a_user_loss_gets_the_mask_if_it_takes_one(accepts_mask):
    received = []

    def asking(student, teacher, masked):
        received.append(masked)
        return student.mean()

    def plain(student, teacher):
        received.append(student)
        return student.mean()

    teacher = Teacher(stage="lex", loss="file.py:f", with_positive=False)
    losses.distil(scores_of(1), scores_of(2), teacher, asking if accepts_mask else plain, MASKED)
    assert torch.equal(received[0], MASKED[:, 1:] if accepts_mask else scores_of(1)[:, 1:])
