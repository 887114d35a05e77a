"""The losses of rankers beside plain loops and sentence-transformers' losses of cross-encoders: rows of compare_losses.

# B = queries, C = candidates of one query (positive first)
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean
from typing import Any

import plain_loops as loops
import torch
import torch.nn.functional as F
from comparison import Comparison
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses as theirs
from sentence_transformers.cross_encoder.losses.lambda_loss import BaseWeightingScheme
from torch import Tensor, nn

from led_pipeline.recipe.settings import RankerObjective
from led_pipeline.training import losses, ranker_losses

LOOP = "plain loop"
GAPS = (0.5, 1.0)
PLAIN = nn.Identity()


class GivenScores(CrossEncoder):
    """A cross-encoder without a model: the output for query i and candidate j is entry (i, j) of a given tensor."""

    def __init__(self, outputs: Tensor):
        nn.Module.__init__(self)
        self.outputs = outputs if outputs.ndim == 3 else outputs.unsqueeze(-1)

    num_labels = property(lambda self: self.outputs.shape[-1])
    device = property(lambda self: self.outputs.device)

    def preprocess(self, inputs: list[tuple[int, int]], **_: Any) -> dict[str, Tensor]:
        return {"pairs": torch.tensor(inputs)}

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"scores": self.outputs[features["pairs"][:, 0], features["pairs"][:, 1]]}


class TeacherGap(BaseWeightingScheme):
    """The weight of a pair is how much more the label of its first passage is."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        return true_sorted[:, :, None] - true_sorted[:, None, :]


def one_hot(scores_BC: Tensor) -> Tensor:
    """Return 1 for every query's positive and 0 for its other candidates."""
    return torch.zeros_like(scores_BC).index_fill_(1, torch.tensor([0]), 1.0)


def pairwise(make: Callable[[CrossEncoder], nn.Module], outputs: Tensor, labels_BC: Tensor) -> float:
    """Return a loss of theirs over all pairs of a query and a candidate."""
    count, size = labels_BC.shape
    queries, candidates = (
        t.flatten().tolist() for t in torch.meshgrid(*map(torch.arange, (count, size)), indexing="ij")
    )
    return make(GivenScores(outputs))([queries, candidates], labels_BC.flatten()).item()


def listwise(make: Callable[[CrossEncoder], nn.Module], scores_BC: Tensor, labels_BC: Tensor) -> float:
    """Return a loss of theirs over lists of candidates."""
    queries, candidates = range(len(scores_BC)), [list(range(scores_BC.shape[1]))] * len(scores_BC)
    return make(GivenScores(scores_BC))([list(queries), candidates], list(labels_BC)).item()


def in_columns(loss: nn.Module, queries: list[int], size: int, labels: Tensor | None) -> float:
    """Return a loss of theirs over columns: the queries, their positives, their first negatives and so on."""
    return loss([queries, *([place] * len(queries) for place in range(size))], labels).item()


def a_query_at_a_time(scores_BC: Tensor) -> float:
    model = GivenScores(scores_BC)
    loss = theirs.MultipleNegativesRankingLoss(model, scale=1, activation_fn=None)
    return fmean(in_columns(loss, [query], scores_BC.shape[1], None) for query in range(len(scores_BC)))


def two_words(scores_BC: Tensor) -> Tensor:
    """Return logits of two words (B, C, 2) whose difference is the score."""
    other = torch.linspace(-3, 3, scores_BC.numel()).view_as(scores_BC)
    return torch.stack([other, other + scores_BC], dim=-1)


def torchs_margin(scores_BC: Tensor, gap: float) -> Tensor:
    positive, negative = scores_BC[:, :1].expand(-1, scores_BC.shape[1] - 1).flatten(), scores_BC[:, 1:].flatten()
    return F.margin_ranking_loss(positive, negative, torch.ones(len(positive)), margin=gap)


def ranking_losses() -> Iterator[Comparison]:
    """Yield what `ranking_loss` may name; the recipe's keys are what chooses it, as in a training."""
    chosen = {name: RankerObjective(ranking_loss=name) for name in ("softmax", "bce", "soft_margin")}
    chosen |= {f"margin, {gap:g}": RankerObjective(ranking_loss="margin", ranking_margin=gap) for gap in GAPS}
    ours = {
        name: partial(lambda case, settings: ranker_losses.ranking(case.own, settings), settings=settings)
        for name, settings in chosen.items()
    }
    for name, loop in {"softmax": loops.softmax, "bce": loops.bce, "soft_margin": loops.soft_margin}.items():
        theirs_ = partial(lambda case, loop: loop(loops.rows(case.own)), loop=loop)
        yield Comparison(f"ranking_loss {name}", LOOP, ours[name], theirs_)
    for gap in GAPS:
        term, mine = f"ranking_loss margin, {gap:g}", ours[f"margin, {gap:g}"]
        yield Comparison(term, LOOP, mine, partial(lambda case, gap: loops.margin(loops.rows(case.own), gap), gap=gap))
        yield Comparison(
            term, "torch's margin_ranking_loss", mine, partial(lambda c, g: torchs_margin(c.own, g), g=gap)
        )
    yield Comparison(
        "ranking_loss softmax",
        "cross-encoders' MultipleNegativesRankingLoss, a query at a time",
        ours["softmax"],
        lambda case: a_query_at_a_time(case.own),
    )
    yield Comparison(
        "ranking_loss bce",
        "cross-encoders' BinaryCrossEntropyLoss",
        ours["bce"],
        lambda case: pairwise(theirs.BinaryCrossEntropyLoss, case.own, one_hot(case.own)),
    )
    yield Comparison(
        "ranking_loss bce",
        "cross-encoders' CrossEntropyLoss, two words' logits",
        ours["bce"],
        lambda case: pairwise(theirs.CrossEntropyLoss, two_words(case.own), one_hot(case.own).long()),
    )
    natural = partial(theirs.RankNetLoss, reduction_log="natural")
    yield Comparison(
        "ranking_loss soft_margin",
        "cross-encoders' RankNetLoss, labels 1 and 0",
        ours["soft_margin"],
        lambda case: listwise(natural, case.own, one_hot(case.own)),
    )


def their_ranknet(student_BC: Tensor, teacher_BC: Tensor) -> float:
    """Return their RankNet with every pair weighted by the teacher's gap, as a sum over a query's pairs."""
    loss = partial(theirs.LambdaLoss, weighting_scheme=TeacherGap(), reduction_log="natural")
    above_zero = teacher_BC - teacher_BC.min()  # labels below 0 count as 0 in the weights there
    return math.comb(student_BC.shape[1], 2) * listwise(loss, student_BC, above_zero)


def teachers_of_rankers() -> Iterator[Comparison]:
    """Yield the teachers' losses that sentence-transformers has for cross-encoders, too."""

    def ours(name: str) -> Callable:
        return lambda case: losses.DISTILLATION[name](case.own, case.teacher)

    def their_margins(case: Any) -> float:
        loss = theirs.MarginMSELoss(GivenScores(case.own))
        return in_columns(loss, list(range(len(case.own))), case.own.shape[1], case.teacher)

    yield Comparison(
        "listnet",
        "cross-encoders' ListNetLoss",
        ours("listnet"),
        lambda case: listwise(theirs.ListNetLoss, case.own, case.teacher),
    )
    yield Comparison("margin_mse", "cross-encoders' MarginMSELoss", ours("margin_mse"), their_margins)
    yield Comparison(
        "ranknet",
        "cross-encoders' LambdaLoss, weights of our own",
        ours("ranknet"),
        lambda case: their_ranknet(case.own, case.teacher),
    )


def comparisons() -> list[Comparison]:
    """Return everything of rankers that is compared."""
    return [*ranking_losses(), *teachers_of_rankers()]
