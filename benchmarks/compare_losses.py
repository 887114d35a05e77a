"""Compare every loss with a plain loop over its formula and, where it has one, with sentence-transformers' own.

Run as `python benchmarks/compare_losses.py --out docs/recipes/compared.md`: the table of what was compared and the
largest difference. `tests/unit/test_compared.py` runs the same comparisons.

# B = queries, C = candidates of one query (positive first), D = dimensions
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from statistics import fmean

import sentence_transformers
import torch
from sentence_transformers.sentence_transformer import losses as dense
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.util import dot_score
from torch import Tensor

from led_pipeline import losses, objectives
from led_pipeline.files import atomic
from led_pipeline.models.lexicon import term_weights

SEEDS = range(5)
B, C, D = 6, 5, 40
LOOP = "plain loop"
Row = list[float]


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
    def own(self) -> Tensor:
        return torch.einsum("bd,bcd->bc", self.queries, self.passages)

    @property
    def columns(self) -> list[Tensor]:
        """What sentence-transformers' losses take: the queries, then the candidates by their place."""
        return [self.queries, *self.passages.unbind(1)]


# --- plain loops, in double precision


def rows(scores: Tensor) -> list[Row]:
    return scores.double().tolist()


def softmax(values: Row) -> Row:
    total = math.fsum(math.exp(v - max(values)) for v in values)
    return [math.exp(v - max(values)) / total for v in values]


def loop_contrastive(case: Case, among: str) -> float:
    terms = []
    for i, row in enumerate(rows(case.scores)):
        found = [row[i * C]]
        for j, score in enumerate(row):
            query, place = divmod(j, C)
            if among == "own" and query == i and place > 0:
                found.append(score)
            if among == "batch" and j != i * C:
                found.append(score)
            if among == "batch_negatives" and place > 0:
                found.append(score)
        terms.append(-math.log(softmax(found)[0]))
    return fmean(terms)


def loop_flops(groups: list[list[Row]], threshold: int = -1) -> float:
    """Sum, over places in a group and terms, of the squared mean over groups."""
    total = 0.0
    for place in range(len(groups[0])):
        for term in range(D):
            weights = []
            for group in groups:
                active = sum(weight > 0 for weight in group[place])
                weights.append(group[place][term] if active > threshold else 0.0)
            total += fmean(weights) ** 2
    return total


def loop_rank(student: list[Row], teacher: list[Row]) -> float:
    hinges = []
    for s, t in zip(student, teacher, strict=True):
        order = sorted(range(C), key=lambda i, t=t: -t[i])
        hinges += [max(0.0, s[b] - s[a]) for a, b in combinations(order, 2)]
    return fmean(hinges)


def loop_ranknet(student: list[Row], teacher: list[Row]) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for a in range(C):
            for b in range(C):
                total += max(0.0, t[a] - t[b]) * math.log1p(math.exp(s[b] - s[a]))
    return total / B


def loop_kl(student: list[Row], teacher: list[Row], temperature: float = 1.0) -> float:
    found = []
    for s, t in zip(student, teacher, strict=True):
        p, q = softmax([v / temperature for v in t]), softmax([v / temperature for v in s])
        found.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return fmean(found)


def loop_listnet(student: list[Row], teacher: list[Row]) -> float:
    pairs = zip(student, teacher, strict=True)
    return fmean(-sum(a * math.log(b) for a, b in zip(softmax(t), softmax(s), strict=True)) for s, t in pairs)


def loop_margins(student: list[Row], teacher: list[Row], first: range) -> float:
    """Mean squared error of the gaps from some candidates to all, or from the positive to the others."""
    errors = []
    for s, t in zip(student, teacher, strict=True):
        for i in first:
            others = range(1, C) if len(first) == 1 else range(C)
            errors += [((s[i] - s[j]) - (t[i] - t[j])) ** 2 for j in others]
    return fmean(errors)


def loop_ensemble(systems: list[list[Row]], weights: Row, scale: float) -> list[Row]:
    mixed = []
    for of_query in zip(*systems, strict=True):
        parts = [[(v - min(row)) / (max(row) - min(row) + 1e-6) for v in row] for row in of_query]
        mixed.append(
            [scale * sum(w * part[j] for w, part in zip(weights, parts, strict=True)) / sum(weights) for j in range(C)]
        )
    return mixed


def loop_weights(logits: list[list[Row]], twice: bool) -> list[Row]:
    found = []
    for text in logits:
        highest = [max(0.0, *(position[v] for position in text)) for v in range(D)]
        found.append([math.log1p(math.log1p(h)) if twice else math.log1p(h) for h in highest])
    return found


# --- what is compared with what

Value = Callable[[Case], "float | Tensor | list[Row]"]


@dataclass(frozen=True)
class Comparison:
    """One term, what it was compared with, and both computations."""

    term: str
    reference: str
    ours: Value
    theirs: Value

    def difference(self) -> float:
        """Return the largest difference over all cases, relative to the largest entry where that is above 1."""
        found = []
        for seed in SEEDS:
            case = Case(seed)
            mine, other = (torch.as_tensor(f(case)).double() for f in (self.ours, self.theirs))
            found.append(((mine - other).abs().max() / other.abs().max().clamp(min=1)).item())
        return max(found)


def theirs_on_columns(case: Case, loss: torch.nn.Module) -> Tensor:
    return loss.compute_loss_from_embeddings(case.columns, case.teacher)


def theirs_in_batch(case: Case, loss: torch.nn.Module) -> Tensor:
    return loss.compute_loss_from_embeddings(case.columns, None)


def theirs_alone(case: Case, loss: torch.nn.Module, among: str) -> float:
    """Return their in-batch loss over each query alone with its candidates as columns, averaged."""
    found = []
    for i, columns in enumerate(objectives.candidate_columns(B, B * C, among)):
        texts = [case.queries[i : i + 1], *case.flat[columns].split(1)]
        found.append(loss.compute_loss_from_embeddings(texts, None).item())
    return fmean(found)


def contrastives() -> Iterator[Comparison]:
    in_batch = [
        dense.MultipleNegativesRankingLoss(None, scale=1.0, similarity_fct=dot_score),
        sparse.SparseMultipleNegativesRankingLoss(None),
    ]
    for among in ("batch", "batch_negatives", "own"):
        term = f"contrastive, candidates {among}"
        ours = partial(lambda case, among: objectives.contrastive(case.scores, among), among=among)
        yield Comparison(term, LOOP, ours, partial(loop_contrastive, among=among))
        for loss in in_batch:
            name = type(loss).__name__
            if among == "batch":
                yield Comparison(term, name, ours, partial(theirs_in_batch, loss=loss))
            else:
                alone = partial(theirs_alone, loss=loss, among=among)
                yield Comparison(term, f"{name}, a query at a time", ours, alone)


def distillations() -> Iterator[Comparison]:
    every = range(C)
    loops = {
        "rank": loop_rank,
        "kl": loop_kl,
        "ranknet": loop_ranknet,
        "listnet": loop_listnet,
        "margin_mse": lambda s, t: loop_margins(s, t, range(1)),
        "margin_mse_pairs": lambda s, t: loop_margins(s, t, every),
        "margin_mse_softmax": lambda s, t: loop_margins([*map(softmax, s)], [*map(softmax, t)], every),
    }
    for name, loop in loops.items():
        ours = partial(lambda case, name: losses.DISTILLATION[name](case.own, case.teacher), name=name)
        yield Comparison(
            name, LOOP, ours, partial(lambda case, loop: loop(rows(case.own), rows(case.teacher)), loop=loop)
        )
    for loss in (dense.MarginMSELoss(None), sparse.SparseMarginMSELoss(None)):
        ours, theirs = (lambda case: losses.margin_mse(case.own, case.teacher)), partial(theirs_on_columns, loss=loss)
        yield Comparison("margin_mse", type(loss).__name__, ours, theirs)
    for kind in (dense.DistillKLDivLoss, sparse.SparseDistillKLDivLoss):
        for t in (1.0, 2.0):
            ours = partial(lambda case, t: losses.kl(case.own, case.teacher, temperature=t), t=t)
            theirs = partial(theirs_on_columns, loss=kind(None, temperature=t))
            yield Comparison(f"kl, temperature {t:g}", f"{kind.__name__}, temperature {t:g}", ours, theirs)
    yield Comparison(
        "dual",
        LOOP,
        lambda case: losses.dual(case.own, case.teacher),
        lambda case: (loop_kl(rows(case.own), rows(case.teacher)) + loop_kl(rows(case.teacher), rows(case.own))) / 2,
    )
    yield Comparison(
        "scores of two systems as one teacher, weights 1 and 3, scale 30",
        LOOP,
        lambda case: losses.ensemble([case.teacher, case.second], [1.0, 3.0], normalize=True, scale=30.0),
        lambda case: loop_ensemble([rows(case.teacher), rows(case.second)], [1.0, 3.0], 30.0),
    )


def regularisers() -> Iterator[Comparison]:
    for term, limit in {"FLOPS": {}, "FLOPS, threshold 8": {"threshold": 8}}.items():
        ours = partial(lambda case, limit: losses.flops(case.flat, **limit), limit=limit)
        loop = partial(lambda case, limit: loop_flops([[row] for row in rows(case.flat)], **limit), limit=limit)
        yield Comparison(term, LOOP, ours, loop)
        loss = sparse.FlopsLoss(None, **limit)
        theirs = partial(lambda case, loss: loss.compute_loss_from_embeddings(case.flat), loss=loss)
        yield Comparison(term, "FlopsLoss", ours, theirs)
    yield Comparison(
        "FLOPS, grouped",
        LOOP,
        lambda case: losses.flops(case.flat, slots=C),
        lambda case: loop_flops(case.passages.double().tolist()),
    )
    loss = sparse.FlopsLoss(None)
    yield Comparison(
        "FLOPS, grouped",
        "FlopsLoss, the sum over places in a group",
        lambda case: losses.flops(case.flat, slots=C),
        lambda case: sum(loss.compute_loss_from_embeddings(part) for part in case.passages.unbind(1)),
    )
    yield Comparison(
        "L1", LOOP, lambda case: losses.l1(case.queries), lambda case: fmean(map(math.fsum, rows(case.queries)))
    )
    yield Comparison(
        "anti-zero",
        LOOP,
        lambda case: 1e4 * losses.anti_zero(case.queries, case.flat),
        lambda case: sum(1e4 / math.fsum(map(math.fsum, rows(side))) ** 2 for side in (case.queries, case.flat)),
    )


def our_weights(case: Case, activation: str) -> Tensor:
    return term_weights(case.logits, torch.ones(case.logits.shape[:2]), activation)


def their_weights(case: Case, pooling: SpladePooling) -> Tensor:
    features = {"token_embeddings": case.logits.clone(), "attention_mask": torch.ones(case.logits.shape[:2])}
    return pooling(features)["sentence_embedding"]


def representations() -> Iterator[Comparison]:
    for activation, theirs in (("log1p", "relu"), ("log1p_twice", "log1p_relu")):
        term, ours = f"lexicon weights, {activation}", partial(our_weights, activation=activation)
        twice = activation == "log1p_twice"
        loop = partial(lambda case, twice: loop_weights(case.logits.double().tolist(), twice), twice=twice)
        yield Comparison(term, LOOP, ours, loop)
        pooling = SpladePooling("max", activation_function=theirs)
        yield Comparison(term, f"SpladePooling, {theirs}", ours, partial(their_weights, pooling=pooling))


def comparisons() -> list[Comparison]:
    """Return everything that is compared."""
    return [*contrastives(), *distillations(), *regularisers(), *representations()]


HEAD = f"""# What the losses were compared with

Written by `python benchmarks/compare_losses.py --out docs/recipes/compared.md`. Every loss was computed on the same
{len(SEEDS)} random batches of {B} queries with {C} candidates ({D} dimensions) as what stands beside it: a loop over
the formula in double precision, or a class of sentence-transformers {sentence_transformers.__version__}. A difference
is the largest of the batches, relative to the value where that is above 1; ours are computed in float32.

| term | compared with | largest difference |
|---|---|---|
"""
FOOT = """
sentence-transformers' KL multiplies by the squared temperature, as ours does; the temperature of its sparse class is 2
unless given, ours is 1. Its in-batch loss takes the whole batch as candidates: for the other two choices it was given
one query at a time, with that query's candidates as columns. What has a loop alone has no counterpart there.
"""


def table() -> str:
    """Return the page with one row per comparison."""
    lines = [f"| {c.term} | {c.reference} | {c.difference():.0e} |\n" for c in comparisons()]
    return HEAD + "".join(lines) + FOOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where to write the table; unless given it is printed")
    out = parser.parse_args().out
    if out is None:
        print(table(), end="")
        return
    with atomic(out) as temporary:
        temporary.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
