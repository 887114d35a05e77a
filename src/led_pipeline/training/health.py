"""Health: signs that a training is going wrong, with advice; pure functions of scores, vectors and numbers.

The signs are computed on the device at every step, and read only when the log is written, so no step waits. Candidates
that read the same and texts without a token say nothing about a model and do not count. A few texts prove nothing:
`Doubt` waits until enough of them agree.

# B = queries, N = candidates of one query, V = vocabulary entries
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.models.backbone import to_device

SIGNS = ("largest_score", "score_spread", "empty_queries", "empty_passages", "terms_per_query", "terms_per_passage")

DEAD = 1e-6  # spread of the scores, as a share of the largest: no gradient is left
NEARLY_DEAD = 1e-2  # spread: a softmax over such scores is uniform to 1 %
LARGE, EXPLODED = 1e4, 1e6  # largest score
SOME_EMPTY, ALL_EMPTY = 0.2, 0.99  # share of texts without a term
ENOUGH = 16  # queries with the sign of a dead model that make a fault


def _mean(values: Tensor, counts: NDArray[np.bool_] | None) -> Tensor | None:
    """Return the mean of the values at True `counts` (all if None); None if there are none."""
    if counts is None or counts.all():
        return values.mean()
    return (values * to_device(counts, values.device)).sum() / counts.sum() if counts.any() else None


def score_signs(scores_BN: Tensor, telling: NDArray[np.bool_] | None = None) -> dict[str, Tensor]:
    """Return the largest absolute score, and the mean over queries of best minus worst candidate.

    Args:
        telling: (B,) True at queries with a token and candidates that do not all read the same; all unless given.
    """
    scores = scores_BN.detach()
    spread = _mean(scores.amax(dim=1) - scores.amin(dim=1), telling)
    return {"largest_score": scores.abs().max()} | ({} if spread is None else {"score_spread": spread})


def lexicon_signs(
    queries_BV: Tensor, passages_NV: Tensor, with_tokens: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None
) -> dict[str, Tensor]:
    """Return the share of texts without any term, and the mean number of terms, on both sides.

    Args:
        with_tokens: True at queries and passages that have a token, which alone count for the share; all unless given.
    """
    signs: dict[str, Tensor] = {}
    sides = ("query", "queries", queries_BV), ("passage", "passages", passages_NV)
    for (one, side, weights), counts in zip(sides, with_tokens or (None, None), strict=True):
        terms = weights.detach().count_nonzero(dim=1).float()
        empty = _mean((terms == 0).float(), counts)
        signs |= {f"terms_per_{one}": terms.mean()} | ({} if empty is None else {f"empty_{side}": empty})
    return signs


class Doubt:
    """Delays the fault of a dead model until `ENOUGH` queries in a row have shown its signs."""

    def __init__(self, batch_size: int):
        self._batch_size, self._queries = batch_size, 0

    def fault(self, values: Mapping[str, float]) -> str | None:
        """Return the fault of a step that is logged (`fault`), or None while too few queries show it."""
        reason = fault(values)
        if reason is None or not dead(values):
            self._queries = 0
            return reason
        self._queries += self._batch_size
        return reason if self._queries >= ENOUGH else None


def dead(values: Mapping[str, float]) -> bool:
    """Return whether a step has the signs of a model that tells no texts apart; a single odd text has them, too."""
    empty = any(values.get(f"empty_{side}", 0.0) >= ALL_EMPTY for side in ("queries", "passages"))
    spread, largest = values.get("score_spread", 1.0), values.get("largest_score", 0.0)
    certain = not math.isfinite(values["loss"]) or not largest < EXPLODED
    return not certain and (empty or spread <= DEAD * max(1.0, largest))


def fault(values: Mapping[str, float]) -> str | None:
    """Return why a training with these losses and signs cannot go on and what to do, or None."""
    for side in ("queries", "passages"):  # first: where nothing is left, the anti-zero term is infinite
        if (share := values.get(f"empty_{side}", 0.0)) >= ALL_EMPTY:
            return (
                f"{share:.0%} of the {side} have no term left, so no gradient can bring them back; lower"
                f" flops_{side}, l1_{side} or learning_rate, and see that init is a trained masked language model"
            )
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if not math.isfinite(values["loss"]):
        return (
            f"the loss is {values['loss']} (not finite: {', '.join(broken)}); lower learning_rate or clip_norm, take"
            " bf16 instead of fp16, or find the cause with precision: float32"
        )
    largest = values.get("largest_score", 0.0)
    if not largest < EXPLODED:
        return f"scores have exploded, the largest is {largest:.3g}; {_SMALLER}"
    if values.get("score_spread", 1.0) <= DEAD * max(1.0, largest):
        return f"all candidates of a query score the same ({largest:.6g}): the model tells no texts apart; {_LIVELIER}"
    return None


def warnings(values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield (sign, sentence) for each sign that is getting worse."""
    for side in ("queries", "passages"):
        if (share := values.get(f"empty_{side}", 0.0)) >= SOME_EMPTY:
            yield (
                f"empty_{side}",
                f"{share:.0%} of the {side} have no term left; lower flops_{side}, l1_{side} or learning_rate",
            )
    if (largest := values.get("largest_score", 0.0)) > LARGE:
        yield "largest_score", f"the largest score is {largest:.3g}; if it grows further, {_SMALLER}"
    if (spread := values.get("score_spread", 1.0)) < NEARLY_DEAD:
        yield "score_spread", f"the candidates of a query score nearly the same (spread {spread:.2g}); {_LIVELIER}"


_SMALLER = "lower learning_rate or clip_norm, or raise weight_decay (a lexicon stage: flops_passages and flops_queries)"
_LIVELIER = "lower learning_rate, raise warmup_fraction, and see that init is a trained model"
