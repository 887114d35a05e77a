"""Losses: pure functions of the scores of queries and their candidates; each returns a float32 scalar.

Student and teacher scores of a query's candidates are (B, C) with the positive in column 0. Callers pass the candidates
of the whole global batch, so that no value depends on the number of processes.

Masked candidates (`masked` is True there, (B, C), never at the positive) do not count.

# B = queries, C = candidates of one query (positive first)
"""

from collections.abc import Callable, Sequence
from functools import cache
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor

from led_pipeline.recipe.values import Teacher

Distillation = Callable[..., Tensor]  # student (B, C), teacher (B, C), options by name -> scalar


def contrastive(scores: Tensor, positives: Tensor, masked: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of each query's positive among all candidates.

    Args:
        scores: (B, any number of candidates), for instance every passage of the global batch.
        positives: (B,) column of each query's positive.
        masked: True at candidates that do not count, in the shape of the scores.
        smoothing: share of the label that is spread evenly over all candidates that count.

    Source: LED (arXiv:2208.13661); the temperature, if any, is already in the scores.
    """
    term = F.cross_entropy(_without(masked, scores.float(), -torch.inf), positives)
    if not smoothing:
        return term
    counts = scores.shape[1] if masked is None else (~masked).sum(dim=1)
    even = -(_log_softmax(scores, masked).sum(dim=1) / counts).mean()
    return (1 - smoothing) * term + smoothing * even


def _without(masked: Tensor | None, values: Tensor, replacement: float) -> Tensor:
    return values if masked is None else values.masked_fill(masked, replacement)


def _log_softmax(scores_BC: Tensor, masked: Tensor | None) -> Tensor:
    """Return the log-probabilities of the candidates, with 0 and no gradient at masked ones."""
    return _without(masked, _without(masked, scores_BC.float(), -torch.inf).log_softmax(dim=1), 0.0)


def _kl(log_student: Tensor, log_teacher: Tensor, masked: Tensor | None) -> Tensor:
    """Mean over queries of KL(teacher || student)."""
    terms = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    return _without(masked, terms, 0.0).sum() / len(terms)


def _mean(values: Tensor, masked: Tensor | None) -> Tensor:
    """Mean of the values that are not masked, 0 without any."""
    if masked is None:
        return values.mean()
    return values.masked_fill(masked, 0.0).sum() / (~masked).sum().clamp(min=1)


def _grid(masked: Tensor | None) -> Tensor | None:
    """Return the mask of ordered pairs of candidates (B, C, C): True if one of them is masked."""
    return None if masked is None else masked.unsqueeze(2) | masked.unsqueeze(1)


def min_max(scores_BC: Tensor, masked: Tensor | None = None) -> Tensor:
    """Bring each query's scores to 0..1: (s - min) / (max - min + 1e-6).

    Source: OpenSearch's ensemble of heterogeneous teachers (arXiv:2411.04403).
    """
    scores_BC = scores_BC.float()
    low = _without(masked, scores_BC, torch.inf).amin(dim=1, keepdim=True)
    high = _without(masked, scores_BC, -torch.inf).amax(dim=1, keepdim=True)
    return (scores_BC - low) / (high - low + 1e-6)


def ensemble(
    systems: Sequence[Tensor],
    weights: Sequence[float],
    *,
    normalize: bool,
    scale: float = 1.0,
    masked: Tensor | None = None,
) -> Tensor:
    """Return the weighted mean of several systems' scores of the same candidates, each (B, C), times `scale`.

    With `normalize` every system's scores of a query are brought to 0..1 first; the weights need not add up to 1.
    """
    parts = [min_max(scores, masked) if normalize else scores.float() for scores in systems]
    total = parts[0] * weights[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = total + weight * part
    return scale * (total / sum(weights))


@cache
def _pairs(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the index pairs a < b of `count` candidates."""
    pairs = torch.triu_indices(count, count, offset=1, device=device)
    return pairs[0], pairs[1]


def _sorted_pairs(
    student_BC: Tensor, teacher_BC: Tensor, masked: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the score gaps of student and teacher for all pairs, the teacher's preferred passage first.

    The third value is True at pairs without a masked candidate, None if there is no mask. All are (B, C(C-1)/2).
    """
    teacher_BC = teacher_BC.float()
    order = teacher_BC.argsort(dim=1, descending=True, stable=True)
    student, teacher = student_BC.float().gather(1, order), teacher_BC.gather(1, order)
    first, second = _pairs(student.shape[1], student.device)
    unmasked = None if masked is None else ~masked.gather(1, order)
    counts = None if unmasked is None else unmasked[:, first] & unmasked[:, second]
    return student[:, first] - student[:, second], teacher[:, first] - teacher[:, second], counts


def rank(
    student_BC: Tensor,
    teacher_BC: Tensor,
    *,
    margin: float = 0.0,
    min_confidence: float = 0.0,
    masked: Tensor | None = None,
) -> Tensor:
    """Mean hinge over all pairs that the student orders against the teacher.

    Only the teacher's order counts. Pairs whose teacher gap is below `min_confidence` are left out; at 0 all are kept,
    ties in list order. Without any pair the loss is 0.

    Source: rank-consistent regularisation as in LED's code (arXiv:2208.13661).
    """
    student_gap, teacher_gap, counts = _sorted_pairs(student_BC, teacher_BC, masked)
    keep = teacher_gap >= min_confidence
    keep = keep if counts is None else keep & counts
    return ((margin - student_gap).relu() * keep).sum() / keep.sum().clamp(min=1)


def kl(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float = 1.0, masked: Tensor | None = None) -> Tensor:
    """T^2 times the mean over queries of KL(softmax(teacher / T) || softmax(student / T)).

    Source: Hinton et al. (arXiv:1503.02531); LED's ranker teacher uses T = 3.
    """
    log_student = _log_softmax(student_BC.float() / temperature, masked)
    log_teacher = _log_softmax(teacher_BC.float() / temperature, masked)
    return temperature**2 * _kl(log_student, log_teacher, masked)


def ranknet(student_BC: Tensor, teacher_BC: Tensor, *, masked: Tensor | None = None) -> Tensor:
    """Mean over queries of the sum over pairs of teacher gap x -log sigmoid(student gap).

    Pairs are taken with the teacher's preferred passage first, so every coefficient is at least 0; in list order, as
    LED's code has them, coefficients can be negative and the loss has no lower bound. LED sums over queries.
    """
    student_gap, teacher_gap, counts = _sorted_pairs(student_BC, teacher_BC, masked)
    terms = teacher_gap * F.softplus(-student_gap)
    return (terms if counts is None else terms * counts).sum(dim=1).mean()


def listnet(student_BC: Tensor, teacher_BC: Tensor, *, masked: Tensor | None = None) -> Tensor:
    """Mean over queries of the cross-entropy between the teacher's distribution and the student's; LED sums."""
    teacher = _without(masked, teacher_BC.float(), -torch.inf).softmax(dim=1)
    return -(teacher * _log_softmax(student_BC, masked)).sum(dim=1).mean()


def margin_mse(student_BC: Tensor, teacher_BC: Tensor, *, masked: Tensor | None = None) -> Tensor:
    """Mean squared error of the margins positive minus negative, over all pairs of all queries.

    Source: Hofstätter et al. (arXiv:2010.02666).
    """
    student, teacher = student_BC.float(), teacher_BC.float()
    error = (student[:, :1] - student[:, 1:]) - (teacher[:, :1] - teacher[:, 1:])
    return _mean(error.square(), None if masked is None else masked[:, 1:])


def margin_mse_pairs(student_BC: Tensor, teacher_BC: Tensor, *, masked: Tensor | None = None) -> Tensor:
    """Mean over queries and all ordered pairs, the diagonal included, of the squared error of score gaps.

    Source: the code of SPLADE's Hugging Face trainer; `margin_mse` is the published loss.
    """
    error = student_BC.float() - teacher_BC.float()
    return _mean((error.unsqueeze(2) - error.unsqueeze(1)).square(), _grid(masked))


def margin_mse_softmax(student_BC: Tensor, teacher_BC: Tensor, *, masked: Tensor | None = None) -> Tensor:
    """Mean over queries and all ordered pairs, the diagonal included, of the squared error of probability gaps.

    Source: the variant in LED's code; not the published Margin-MSE, which `margin_mse` is.
    """
    student, teacher = (
        _without(masked, scores.float(), -torch.inf).softmax(dim=1) for scores in (student_BC, teacher_BC)
    )
    error = student - teacher
    return _mean((error.unsqueeze(2) - error.unsqueeze(1)).square(), _grid(masked))


def dual(first: Tensor, second: Tensor, masked: Tensor | None = None) -> Tensor:
    """Mean of both KL divergences between the distributions of two dropout passes over the same candidates.

    Source: LED's dual regularisation, after R-Drop (arXiv:2106.14448).
    """
    p, q = _log_softmax(first, masked), _log_softmax(second, masked)
    return (_kl(q, p, masked) + _kl(p, q, masked)) / 2


DISTILLATION: dict[str, Distillation] = {
    "rank": rank,
    "kl": kl,
    "ranknet": ranknet,
    "listnet": listnet,
    "margin_mse": margin_mse,
    "margin_mse_softmax": margin_mse_softmax,
    "margin_mse_pairs": margin_mse_pairs,
}


def distil(
    student_BC: Tensor,
    teacher_BC: Tensor,
    teacher: Teacher,
    user_loss: Distillation | None = None,
    masked: Tensor | None = None,
) -> Tensor:
    """Return the loss of a teacher over the candidates of each query; its settings name the loss and its options.

    Args:
        user_loss: the function of the user's file, where `teacher.loss` names one. It gets `masked` only if it has a
            parameter of that name; otherwise it sees all candidates.
    """
    options: dict[str, object] = {}
    if teacher.loss == "rank":
        options = {"margin": teacher.margin, "min_confidence": teacher.min_confidence}
    elif teacher.loss == "kl":
        options = {"temperature": teacher.temperature}
    if not teacher.with_positive:
        student_BC, teacher_BC = student_BC[:, 1:], teacher_BC[:, 1:]
        masked = None if masked is None else masked[:, 1:]
    if user_loss is None or "masked" in signature(user_loss).parameters:
        options["masked"] = masked
    return (user_loss or DISTILLATION[teacher.loss])(student_BC, teacher_BC, **options)
