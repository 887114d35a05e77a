"""Plan: how long a training is, how its weights are updated, its learning rate at every step, and its optimizer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from led_pipeline.data.order import total_batches, total_steps
from led_pipeline.recipe.settings import LexiconOptimisation
from led_pipeline.recipe.step_settings import MaskedLmTraining, RunningSettings, TrainingSettings, ValidationSettings
from led_pipeline.training import exchange


@dataclass(frozen=True)
class Plan:
    """How long a training is, how its weights are updated, and how often it is logged, validated and saved."""

    steps: int
    """Optimizer steps in all."""
    learning_rate: float
    """Of AdamW, at the end of the warm-up."""
    weight_decay: float
    """Of AdamW, on tensors of two dimensions."""
    warmup_fraction: float
    """Share of the steps in which the rate rises."""
    clip_norm: float
    """Largest norm of the gradient."""
    warmup_steps: int | None = None
    """Steps in which the rate rises, instead of the share."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up."""
    learning_rate_end: float = 0.0
    """What it falls to, as a share of the highest rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    epsilon: float = 1e-8
    """Of AdamW."""
    accumulation: int = 1
    """Batches per step."""
    batches: int | None = None
    """Batches in all; the last step takes those that remain."""
    batch_size: int = 1
    """Queries per step, for the speed in the log."""
    texts: str = "queries"
    """What `batch_size` counts."""
    log_every: int = 10
    """Steps between lines of the log."""
    validate_every: int = 0
    """Steps between validations; 0: at the end alone."""
    keep: str = "best"
    """The weights to end with: those of the best validated step, or of the `last` step."""
    measure: str = "MRR@10"
    """The measure of a validation that decides which step is the best."""
    checkpoint_min: float = 30.0
    """Minutes between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, besides the minutes."""
    save_model_steps: int | None = None
    """Steps between models that are saved on the way."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of single parameters, by the end of their names."""
    gradient_exchange: exchange.Type = "float32"
    """Type in which several processes add up their gradients."""

    @property
    def warmup(self) -> int:
        """Steps in which the rate rises."""
        return int(self.warmup_fraction * self.steps) if self.warmup_steps is None else self.warmup_steps

    def batches_of(self, step: int) -> range:
        """Return the batches of a step, both counted from 0."""
        first, after = step * self.accumulation, (step + 1) * self.accumulation
        return range(first, after if self.batches is None else min(after, self.batches))


def learning_rate(update: int, plan: Plan) -> float:
    """Return the rate of an update (from 0): linear rise over the warm-up, then as the schedule says.

    Source: the schedules of transformers, whose rise begins with an update at the rate 0; ours with the next one.
    """
    if update < plan.warmup:
        return plan.learning_rate * (update + 1) / plan.warmup
    if plan.schedule == "constant":
        return plan.learning_rate
    end, left, steps = (
        plan.learning_rate * plan.learning_rate_end,
        plan.steps - update,
        max(1, plan.steps - plan.warmup),
    )
    if plan.schedule == "cosine":
        return end + (plan.learning_rate - end) * (1 - math.cos(math.pi * left / steps)) / 2
    return end + (plan.learning_rate - end) * left / steps


def optimizer_for(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW; biases and normalisation weights (everything of one dimension) do not decay.

    Parameters in `plan.rates` are a group of their own; its `share` is its rate as a multiple of the common one.
    """
    by_name = {name: p for name, p in model.named_parameters() if p.requires_grad}
    single = {end: [p for name, p in by_name.items() if name.endswith(end)] for end in plan.rates}
    grouped = {id(p) for group in single.values() for p in group}
    parameters = [p for p in by_name.values() if id(p) not in grouped]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    for end, group in single.items():
        groups.append({"params": group, "weight_decay": 0.0, "share": plan.rates[end] / plan.learning_rate})
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, eps=plan.epsilon, fused=True)


def build_plan(
    settings: TrainingSettings | MaskedLmTraining,
    running: RunningSettings,
    examples: int,
    validation: ValidationSettings | None,
) -> Plan:
    """Return the plan of a training with this number of examples in an epoch."""
    steps = total_steps(examples, settings)
    idf_rate = settings.idf_learning_rate if isinstance(settings, LexiconOptimisation) else None
    return Plan(
        steps=steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_fraction=settings.warmup_fraction,
        clip_norm=settings.clip_norm,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        learning_rate_end=settings.learning_rate_end,
        betas=(settings.adam_beta1, settings.adam_beta2),
        epsilon=settings.adam_epsilon,
        accumulation=settings.gradient_accumulation,
        batches=total_batches(examples, settings),
        batch_size=min(settings.batch_size, examples) * settings.gradient_accumulation,
        texts="passages" if isinstance(settings, MaskedLmTraining) else "queries",
        log_every=max(1, min(100, steps // 50)),
        validate_every=validation.every if validation else 0,
        keep=validation.keep if validation else "last",
        measure=validation.measure if validation else "",
        checkpoint_min=running.checkpoint_min,
        checkpoint_steps=running.checkpoint_steps,
        gradient_exchange=settings.gradient_exchange,
        save_model_steps=running.save_model_steps,
        rates={"query.weights_V": idf_rate} if idf_rate else {},
    )
