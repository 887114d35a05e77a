"""Compare every loss with a plain loop over its formula and with its counterpart in sentence-transformers.

Run as `python benchmarks/compare_losses.py --out docs/measurements/compared.md`: a table of the comparisons and their
largest differences. `tests/unit/training/test_compared.py` runs the same comparisons.

# B = queries, C = candidates of one query (positive first), D = dimensions
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import fmean

import compare_ranker_losses
import plain_loops as loops
import sentence_transformers
import torch
from comparison import Comparison, table, write
from plain_loops import rows
from sentence_transformers.sentence_transformer import losses as dense
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.util import dot_score
from torch import Tensor

from led_pipeline.models.lexicon import term_weights
from led_pipeline.training import losses, objectives, objectives_candidates, regularisers

B, C, D = 6, 5, 40
LOOP = compare_ranker_losses.LOOP


@dataclass(frozen=True)
class Case:
    """Random vectors of some queries and their candidates, with a teacher's scores; weights are at least 0."""

    seed: int

    def _random(self, *shape: int, salt: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(100 * self.seed + salt))

    @cached_property
    def queries(self) -> Tensor:
        return self._random(B, D, salt=1).relu()

    @cached_property
    def passages(self) -> Tensor:
        return self._random(B, C, D, salt=2).sub(torch.linspace(0, 2, B * C).view(B, C, 1)).relu()

    @cached_property
    def teacher(self) -> Tensor:
        return 3 * self._random(B, C, salt=3)

    @cached_property
    def second(self) -> Tensor:
        return 50 + 9 * self._random(B, C, salt=4)

    @cached_property
    def logits(self) -> Tensor:
        return 3 * self._random(B, 7, D, salt=5)

    @property
    def flat(self) -> Tensor:
        return self.passages.flatten(0, 1)

    @property
    def scores(self) -> Tensor:
        return self.queries @ self.flat.T

    @property
    def by_query(self) -> Tensor:
        """The scores of every query's own candidates, (B, C)."""
        return torch.einsum("bd,bcd->bc", self.queries, self.passages)

    @property
    def columns(self) -> list[Tensor]:
        """The input of sentence-transformers' losses: the queries, then the candidates by position."""
        return [self.queries, *self.passages.unbind(1)]


CASES = [*map(Case, range(5))]


def peer_on_columns(case: Case, loss: torch.nn.Module) -> Tensor:
    return loss.compute_loss_from_embeddings(case.columns, case.teacher)


def peer_in_batch(case: Case, loss: torch.nn.Module) -> Tensor:
    return loss.compute_loss_from_embeddings(case.columns, None)


def peer_per_query(case: Case, loss: torch.nn.Module, among: str) -> float:
    """Return the mean of the peer's in-batch loss over single queries with their candidates as columns."""
    values = []
    for i, columns in enumerate(objectives_candidates.candidate_columns(B, B * C, among)):
        texts = [case.queries[i : i + 1], *case.flat[columns].split(1)]
        values.append(loss.compute_loss_from_embeddings(texts, None).item())
    return fmean(values)


def contrastives() -> Iterator[Comparison]:
    in_batch = [
        dense.MultipleNegativesRankingLoss(None, scale=1.0, similarity_fct=dot_score),
        sparse.SparseMultipleNegativesRankingLoss(None),
    ]
    for among in ("batch", "batch_negatives", "own"):
        term = f"contrastive, candidates {among}"
        ours = partial(lambda case, among: objectives.contrastive(case.scores, among, objectives.Masks()), among=among)
        yield Comparison(
            term, LOOP, ours, partial(lambda case, among: loops.contrastive(rows(case.scores), among), among=among)
        )
        for loss in in_batch:
            name = type(loss).__name__
            if among == "batch":
                yield Comparison(term, name, ours, partial(peer_in_batch, loss=loss))
            else:
                alone = partial(peer_per_query, loss=loss, among=among)
                yield Comparison(term, f"{name}, a query at a time", ours, alone)


def distillations() -> Iterator[Comparison]:
    formulas = {
        "rank": loops.rank,
        "kl": loops.kl,
        "ranknet": loops.ranknet,
        "listnet": loops.listnet,
        "margin_mse": lambda s, t: loops.margins(s, t, False),
        "margin_mse_pairs": lambda s, t: loops.margins(s, t, True),
        "margin_mse_softmax": lambda s, t: loops.margins(
            [*map(loops.probabilities, s)], [*map(loops.probabilities, t)], True
        ),
    }
    for name, loop in formulas.items():
        ours = partial(lambda case, name: losses.DISTILLATION[name](case.by_query, case.teacher), name=name)
        yield Comparison(
            name,
            LOOP,
            ours,
            partial(lambda case, loop: loop(rows(case.by_query), rows(case.teacher)), loop=loop),
        )
    for loss in (dense.MarginMSELoss(None), sparse.SparseMarginMSELoss(None)):
        ours, peer = (
            (lambda case: losses.margin_mse(case.by_query, case.teacher)),
            partial(peer_on_columns, loss=loss),
        )
        yield Comparison("margin_mse", type(loss).__name__, ours, peer)
    for kind in (dense.DistillKLDivLoss, sparse.SparseDistillKLDivLoss):
        for t in (1.0, 2.0):
            ours = partial(lambda case, t: losses.kl(case.by_query, case.teacher, temperature=t), t=t)
            peer = partial(peer_on_columns, loss=kind(None, temperature=t))
            yield Comparison(f"kl, temperature {t:g}", f"{kind.__name__}, temperature {t:g}", ours, peer)
    yield Comparison(
        "dual",
        LOOP,
        lambda case: losses.dual(case.by_query, case.teacher),
        lambda case: (
            (loops.kl(rows(case.by_query), rows(case.teacher)) + loops.kl(rows(case.teacher), rows(case.by_query))) / 2
        ),
    )
    yield Comparison(
        "scores of two systems as one teacher, weights 1 and 3, scale 30",
        LOOP,
        lambda case: losses.ensemble([case.teacher, case.second], [1.0, 3.0], normalize=True, scale=30.0),
        lambda case: loops.ensemble([rows(case.teacher), rows(case.second)], [1.0, 3.0], 30.0),
    )


def regulariser_terms() -> Iterator[Comparison]:
    for term, limit in {"FLOPS": {}, "FLOPS, threshold 8": {"threshold": 8}}.items():
        ours = partial(lambda case, limit: regularisers.flops(case.flat, **limit), limit=limit)
        loop = partial(lambda case, limit: loops.flops([[row] for row in rows(case.flat)], **limit), limit=limit)
        yield Comparison(term, LOOP, ours, loop)
        loss = sparse.FlopsLoss(None, **limit)
        peer = partial(lambda case, loss: loss.compute_loss_from_embeddings(case.flat), loss=loss)
        yield Comparison(term, "FlopsLoss", ours, peer)
    yield Comparison(
        "FLOPS, grouped",
        LOOP,
        lambda case: regularisers.flops(case.flat, slots=C),
        lambda case: loops.flops(case.passages.double().tolist()),
    )
    loss = sparse.FlopsLoss(None)
    yield Comparison(
        "FLOPS, grouped",
        "FlopsLoss, the sum over places in a group",
        lambda case: regularisers.flops(case.flat, slots=C),
        lambda case: sum(loss.compute_loss_from_embeddings(part) for part in case.passages.unbind(1)),
    )
    yield Comparison(
        "L1", LOOP, lambda case: regularisers.l1(case.queries), lambda case: fmean(map(math.fsum, rows(case.queries)))
    )
    yield Comparison(
        "anti-zero",
        LOOP,
        lambda case: 1e4 * regularisers.anti_zero(case.queries, case.flat),
        lambda case: sum(1e4 / math.fsum(map(math.fsum, rows(side))) ** 2 for side in (case.queries, case.flat)),
    )


def our_weights(case: Case, activation: str) -> Tensor:
    return term_weights(case.logits, torch.ones(case.logits.shape[:2]), activation)


def their_weights(case: Case, pooling: SpladePooling) -> Tensor:
    features = {"token_embeddings": case.logits.clone(), "attention_mask": torch.ones(case.logits.shape[:2])}
    return pooling(features)["sentence_embedding"]


def representations() -> Iterator[Comparison]:
    for activation, peer in (("log1p", "relu"), ("log1p_twice", "log1p_relu")):
        term, ours = f"lexicon weights, {activation}", partial(our_weights, activation=activation)
        twice = activation == "log1p_twice"
        loop = partial(lambda case, twice: loops.term_weights(case.logits.double().tolist(), twice), twice=twice)
        yield Comparison(term, LOOP, ours, loop)
        pooling = SpladePooling("max", activation_function=peer)
        yield Comparison(term, f"SpladePooling, {peer}", ours, partial(their_weights, pooling=pooling))


def comparisons() -> list[Comparison]:
    """Return all comparisons."""
    return [
        *contrastives(),
        *distillations(),
        *regulariser_terms(),
        *representations(),
        *compare_ranker_losses.comparisons(),
    ]


HEAD = f"""# What the losses were compared with

`python benchmarks/compare_losses.py --out docs/measurements/compared.md` writes this page. Every loss and its
reference were computed on the same {len(CASES)} random batches of {B} queries with {C} candidates ({D} dimensions).
The reference is a loop over the formula in double precision, or a class of sentence-transformers
{sentence_transformers.__version__}. The table shows the largest difference over the batches, relative to the value
where the value is above 1. Our losses are computed in float32. [compared-models.md](compared-models.md) compares the
models.

"""
FOOT = """
A term that is compared with a loop only has no counterpart in sentence-transformers. Where the formulas differ, the
comparison accounts for it:

- Their KL multiplies by the squared temperature, as ours does. The temperature of their sparse class is 2 by default,
  ours is 1.
- Their in-batch losses use the whole batch as candidates. For the other two kinds of candidates, and for a ranker's
  softmax, they got one query at a time, with that query's candidates as columns. The cross-encoders' loss scores with
  10 times the sigmoid by default; here it was set to use the score itself.
- Their BinaryCrossEntropyLoss is a mean over pairs, as ours is. The score of a T5 ranker is the difference between
  the logits of two words, and `bce` of it equals their CrossEntropyLoss on these two logits.
- Their RankNetLoss counts in bits by default, is a mean over all pairs whose labels differ, and has no weights. In
  nats, with the label 1 for the positive and 0 for the others, it equals `soft_margin`. Our `ranknet` weights a pair
  by the teacher's gap and sums over the pairs of a query. Their LambdaLoss got these weights and labels that were
  shifted to be at least 0, and its mean was multiplied by the number of pairs of a query.
- Our `margin_mse` and `listnet` equal theirs without any change.
"""


def page() -> str:
    """Return the page with one row per comparison."""
    return HEAD + table(comparisons(), CASES, "term") + FOOT


if __name__ == "__main__":
    write(page, __doc__.splitlines()[0])
