"""The loss of one training step: a weighted sum of terms, with what a log shows beside it."""

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
