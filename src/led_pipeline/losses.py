"""Objectives: pure functions of scores and of representations; every one returns a float32 scalar.

Student and teacher scores of a query's own candidates are (B, C) with the positive in column 0. Whoever calls these
passes the candidates of the whole global batch, so that no value depends on the number of processes.

# B = queries, C = candidates of one query (positive first), N = texts, V = vocabulary entries
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive(scores: Tensor, positives: Tensor) -> Tensor:
    """Mean cross-entropy of each query's positive among all candidates.

    Args:
        scores: (B, any number of candidates), for instance every passage of the global batch.
        positives: (B,) column of each query's positive.

    Source: LED (arXiv:2208.13661); the temperature, if any, is already in the scores.
    """
    return F.cross_entropy(scores.float(), positives)


def flops(weights_NV: Tensor) -> Tensor:
    """Expected number of term products: sum over the vocabulary of the squared mean absolute weight.

    Source: FLOPS regulariser, Paria et al. (arXiv:2004.05665), as used by SPLADE. The rows must be those of the whole
    global batch: the square of a local mean is another quantity.
    """
    return weights_NV.float().abs().mean(dim=0).square().sum()


@cache
def _pairs(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the index pairs a < b of `count` candidates."""
    pairs = torch.triu_indices(count, count, offset=1, device=device)
    return pairs[0], pairs[1]


def _sorted_pairs(student_BC: Tensor, teacher_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Return student and teacher gaps of all pairs, the teacher's preferred passage first, each (B, C(C-1)/2)."""
    teacher_BC = teacher_BC.float()
    order = teacher_BC.argsort(dim=1, descending=True, stable=True)
    student, teacher = student_BC.float().gather(1, order), teacher_BC.gather(1, order)
    first, second = _pairs(student.shape[1], student.device)
    return student[:, first] - student[:, second], teacher[:, first] - teacher[:, second]


def rank(student_BC: Tensor, teacher_BC: Tensor, *, margin: float = 0.0, min_confidence: float = 0.0) -> Tensor:
    """Mean hinge over all pairs that the student orders against the teacher.

    Only the teacher's order counts. Pairs whose teacher gap is below `min_confidence` are left out; at 0 all are kept,
    ties in list order. Without any pair the loss is 0.

    Source: LED, rank-consistent regularisation (arXiv:2208.13661, section 3.3).
    """
    student_gap, teacher_gap = _sorted_pairs(student_BC, teacher_BC)
    keep = teacher_gap >= min_confidence
    return ((margin - student_gap).relu() * keep).sum() / keep.sum().clamp(min=1)


def kl(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 times the mean over queries of KL(softmax(teacher / T) || softmax(student / T)).

    Source: Hinton et al. (arXiv:1503.02531); LED's ranker teacher uses T = 3.
    """
    log_student = (student_BC.float() / temperature).log_softmax(dim=1)
    log_teacher = (teacher_BC.float() / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def ranknet(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean over queries of the sum over pairs of teacher gap x -log sigmoid(student gap).

    Pairs are taken with the teacher's preferred passage first, so every coefficient is at least 0; in list order, as
    LED's code has them, coefficients can be negative and the loss has no lower bound. LED sums over queries.
    """
    student_gap, teacher_gap = _sorted_pairs(student_BC, teacher_BC)
    return (teacher_gap * F.softplus(-student_gap)).sum(dim=1).mean()


def listnet(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean over queries of the cross-entropy between the teacher's distribution and the student's; LED sums."""
    return -(teacher_BC.float().softmax(dim=1) * student_BC.float().log_softmax(dim=1)).sum(dim=1).mean()


def margin_mse(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean squared error of the margins positive minus negative.

    Source: Hofstätter et al. (arXiv:2010.02666).
    """
    student, teacher = student_BC.float(), teacher_BC.float()
    return F.mse_loss(student[:, :1] - student[:, 1:], teacher[:, :1] - teacher[:, 1:])


def margin_mse_softmax(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean over queries and all ordered pairs, the diagonal included, of the squared error of probability gaps.

    Source: the variant in LED's code; not the published Margin-MSE, which `margin_mse` is.
    """
    error = student_BC.float().softmax(dim=1) - teacher_BC.float().softmax(dim=1)
    return (error.unsqueeze(2) - error.unsqueeze(1)).square().mean()


def dual(first: Tensor, second: Tensor) -> Tensor:
    """Mean of both KL divergences between the distributions of two dropout passes over the same candidates.

    Source: LED's dual regularisation, after R-Drop (arXiv:2106.14448).
    """
    p, q = first.float().log_softmax(dim=1), second.float().log_softmax(dim=1)
    forward = F.kl_div(q, p, reduction="batchmean", log_target=True)
    backward = F.kl_div(p, q, reduction="batchmean", log_target=True)
    return (forward + backward) / 2


DISTILLATION = {
    "rank": rank,
    "kl": kl,
    "ranknet": ranknet,
    "listnet": listnet,
    "margin_mse": margin_mse,
    "margin_mse_softmax": margin_mse_softmax,
}


def distil(student_BC: Tensor, teacher_BC: Tensor, teacher: dict) -> Tensor:
    """Apply the objective that a teacher's stanza names to a query's own candidates (`recipe.Teacher` has the keys)."""
    options = {
        "rank": {"margin": teacher["margin"], "min_confidence": teacher["min_confidence"]},
        "kl": {"temperature": teacher["temperature"]},
    }.get(teacher["loss"], {})
    if not teacher["with_positive"]:
        student_BC, teacher_BC = student_BC[:, 1:], teacher_BC[:, 1:]
    return DISTILLATION[teacher["loss"]](student_BC, teacher_BC, **options)
