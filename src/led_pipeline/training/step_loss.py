"""The loss of one training step: a weighted sum of terms, with what a log shows beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class StepLoss:
    """The loss of a global batch, equal on every process."""

    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    """The weighted sum of the terms (), with gradient for this process's own texts."""
    terms: dict[str, Tensor] = field(default_factory=dict)
    """Each term by its name in the log, without weight and gradient."""
    signs: dict[str, Tensor] = field(default_factory=dict)
    """Signs of health (`health.SIGNS`), without gradient."""
    tokens: int = 0
    """Tokens that this process encoded, without padding."""

    def add(self, name: str, term: Tensor, *weights: float) -> None:
        """Add a term times its weights to the total, and record the term under a name."""
        self.note(name, term)
        for weight in weights:
            term = weight * term
        self.total = self.total + term

    def add_part(self, part: "StepLoss", share: float, suffix: str = "") -> None:
        """Add the total of another loss times its share, and record its terms with a suffix to their names."""
        self.total = self.total + share * part.total
        self.terms |= {f"{name}{suffix}": value for name, value in part.terms.items()}

    def note(self, name: str, value: Tensor) -> None:
        """Record a number that is no part of the loss."""
        self.terms[name] = value.detach()


def mean_of(parts: Sequence[StepLoss]) -> StepLoss:
    """Return the mean loss of several batches, of equal importance; the largest score is that of all of them."""
    if len(parts) == 1:
        return parts[0]
    signs = _means([part.signs for part in parts])
    if largest := [part.signs["largest_score"] for part in parts if "largest_score" in part.signs]:
        signs["largest_score"] = torch.stack(largest).max()
    total = torch.stack([part.total for part in parts]).mean()
    return StepLoss(total, _means([part.terms for part in parts]), signs, sum(part.tokens for part in parts))


def _means(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of every number over the batches that have it."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: torch.stack([part[name] for part in parts if name in part]).float().mean() for name in names}
