"""Plain loops over the formulas of the losses, in double precision, as references for the comparisons.

A loop gets rows of numbers, one per query or text; `rows` converts a matrix. Scores are those of a query's candidates,
positive first.
"""

import math
from itertools import combinations
from statistics import fmean

from torch import Tensor

Row = list[float]


def rows(values: Tensor) -> list[Row]:
    return values.double().tolist()


def probabilities(values: Row) -> Row:
    total = math.fsum(math.exp(v - max(values)) for v in values)
    return [math.exp(v - max(values)) / total for v in values]


# --- retrievers


def contrastive(scores: list[Row], among: str) -> float:
    """Compute the loss from the scores of all passages of a batch, grouped by query."""
    terms, count = [], len(scores[0]) // len(scores)
    for i, row in enumerate(scores):
        values = [row[i * count]]
        for j, score in enumerate(row):
            query, place = divmod(j, count)
            if among == "own" and query == i and place > 0:
                values.append(score)
            if among == "batch" and j != i * count:
                values.append(score)
            if among == "batch_negatives" and place > 0:
                values.append(score)
        terms.append(-math.log(probabilities(values)[0]))
    return fmean(terms)


def flops(groups: list[list[Row]], threshold: int = -1) -> float:
    """Sum the squared means over groups, over positions in a group and terms."""
    total = 0.0
    for place in range(len(groups[0])):
        for term in range(len(groups[0][0])):
            weights = []
            for group in groups:
                active = sum(weight > 0 for weight in group[place])
                weights.append(group[place][term] if active > threshold else 0.0)
            total += fmean(weights) ** 2
    return total


def term_weights(logits: list[list[Row]], twice: bool) -> list[Row]:
    values = []
    for text in logits:
        highest = [max(0.0, *(position[v] for position in text)) for v in range(len(text[0]))]
        values.append([math.log1p(math.log1p(h)) if twice else math.log1p(h) for h in highest])
    return values


# --- teachers


def rank(student: list[Row], teacher: list[Row]) -> float:
    hinges = []
    for s, t in zip(student, teacher, strict=True):
        order = sorted(range(len(t)), key=lambda i, t=t: -t[i])
        hinges += [max(0.0, s[b] - s[a]) for a, b in combinations(order, 2)]
    return fmean(hinges)


def ranknet(student: list[Row], teacher: list[Row]) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for a in range(len(t)):
            for b in range(len(t)):
                total += max(0.0, t[a] - t[b]) * math.log1p(math.exp(s[b] - s[a]))
    return total / len(student)


def kl(student: list[Row], teacher: list[Row], temperature: float = 1.0) -> float:
    values = []
    for s, t in zip(student, teacher, strict=True):
        p, q = probabilities([v / temperature for v in t]), probabilities([v / temperature for v in s])
        values.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return fmean(values)


def listnet(student: list[Row], teacher: list[Row]) -> float:
    pairs = [(probabilities(s), probabilities(t)) for s, t in zip(student, teacher, strict=True)]
    return fmean(-sum(a * math.log(b) for a, b in zip(t, s, strict=True)) for s, t in pairs)


def margins(student: list[Row], teacher: list[Row], all_pairs: bool) -> float:
    """Mean squared error of the gaps between all candidates, or from the positive to the others."""
    errors = []
    for s, t in zip(student, teacher, strict=True):
        for i in range(len(s)) if all_pairs else [0]:
            for j in range(0 if all_pairs else 1, len(s)):
                errors.append(((s[i] - s[j]) - (t[i] - t[j])) ** 2)
    return fmean(errors)


def ensemble(systems: list[list[Row]], weights: Row, scale: float) -> list[Row]:
    mixed = []
    for of_query in zip(*systems, strict=True):
        parts = [[(v - min(row)) / (max(row) - min(row) + 1e-6) for v in row] for row in of_query]
        sums = [sum(w * v for w, v in zip(weights, values, strict=True)) for values in zip(*parts, strict=True)]
        mixed.append([scale * value / sum(weights) for value in sums])
    return mixed


# --- rankers


def softmax(scores: list[Row]) -> float:
    return fmean(-math.log(probabilities(row)[0]) for row in scores)


def bce(scores: list[Row]) -> float:
    signed = [-s if place == 0 else s for row in scores for place, s in enumerate(row)]
    return fmean(math.log1p(math.exp(s)) for s in signed)


def margin(scores: list[Row], gap: float) -> float:
    return fmean(max(0.0, gap - (row[0] - s)) for row in scores for s in row[1:])


def soft_margin(scores: list[Row]) -> float:
    return fmean(math.log1p(math.exp(s - row[0])) for row in scores for s in row[1:])
