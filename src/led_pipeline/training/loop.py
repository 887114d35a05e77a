"""Loop: optimizer steps, schedule, clipping, checkpoints, validations, and the choice of the best step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from led_pipeline.files.errors import InputError
from led_pipeline.training import exchange, health, sharding
from led_pipeline.training.agreement import Agreement
from led_pipeline.training.checkpoints import Checkpoints, Progress
from led_pipeline.training.log import Finished, TrainingLog
from led_pipeline.training.step_loss import StepLoss

STOPPED = "stopped at step {step} by SIGTERM, checkpoint saved; start it again to continue"


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
    batch_size: int = 1
    """Queries per step, for the speed in the log."""
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
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of single parameters, by the end of their names."""
    gradient_exchange: exchange.Type = "float32"
    """Type in which several processes add up their gradients."""


def learning_rate(update: int, plan: Plan) -> float:
    """Return the rate of an update (from 0): linear rise over the warm-up, then linear fall to 0."""
    warmup = int(plan.warmup_fraction * plan.steps)
    if update < warmup:
        return plan.learning_rate * (update + 1) / warmup
    return plan.learning_rate * (plan.steps - update) / max(1, plan.steps - warmup)


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
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def fit(
    accelerator: Accelerator,
    model: nn.Module,
    step_loss: Callable[[nn.Module, int], StepLoss],
    plan: Plan,
    checkpoints: Checkpoints,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Finished:
    """Train a model, resuming where an interrupted training stopped, and leave it with the weights to keep.

    Args:
        step_loss: from the model and the step (from 0) to the loss of the whole global batch.
        validate: measures of the model by name, higher is better; the untrained model is never measured.

    Raises:
        InputError: the training has gone wrong (`health.fault`).
        SystemExit: SIGTERM came; the state is saved.
    """
    log = TrainingLog(checkpoints.folder / "train.jsonl", accelerator, model, plan.steps, plan.batch_size)
    optimizer, doubt = optimizer_for(model, plan), health.Doubt(plan.batch_size)
    model, optimizer = exchange.prepare(accelerator, model, optimizer, plan.gradient_exchange)
    progress = checkpoints.restore() or Progress()
    log.start(progress.step, progress.validated, progress.seconds)
    model.train()
    with Agreement(accelerator) as everyone:
        while True:
            if validate and progress.validated < progress.step and _is_validated(progress.step, plan):
                _save(checkpoints, progress, log)  # a stop during the validation costs nothing else
                with log.pause(), everyone.ending_at_once(STOPPED.format(step=progress.step)):
                    measured = _measure(validate, model, accelerator)
                log.validation(measured)
                progress.validated, value = progress.step, measured[plan.measure]
                if plan.keep == "best" and (progress.best is None or value > progress.best):
                    progress.best, progress.best_step = value, progress.step
                    checkpoints.save_best(model, progress.step)
            if progress.step == plan.steps:
                break
            loss = _step(accelerator, model, optimizer, step_loss, plan, progress)
            step, last = progress.step, progress.step == plan.steps
            overdue = checkpoints.minutes() > plan.checkpoint_min
            stop, overdue_anywhere, tokens = everyone.all_reduce_sum(everyone.stop, overdue, loss.tokens)
            log.count(step, tokens)
            due = plan.checkpoint_steps is not None and step % plan.checkpoint_steps == 0
            save = bool(stop) or (not last and (bool(overdue_anywhere) or due))
            logged = last or step == 1 or step % plan.log_every == 0
            if save or logged:
                values, signs = _read_out({"loss": loss.total} | loss.terms), _read_out(loss.signs)
                _check_health(values | signs, step, log, doubt)
                if logged:
                    log.losses(values, signs, optimizer.param_groups[0]["lr"])
            if save:
                _save(checkpoints, progress, log)
            if stop:
                accelerator.end_training()
                raise everyone.end(STOPPED.format(step=progress.step))
    accelerator.wait_for_everyone()
    if progress.best_step is not None and progress.best_step != plan.steps:
        checkpoints.load_best(model, progress.best_step)
    return log.finish(progress.best_step)


def _save(checkpoints: Checkpoints, progress: Progress, log: TrainingLog) -> None:
    with log.pause():
        checkpoints.save(replace(progress, seconds=log.seconds()))


def _is_validated(step: int, plan: Plan) -> bool:
    return step == plan.steps or bool(plan.validate_every and step % plan.validate_every == 0)


def _measure(
    validate: Callable[[nn.Module], Mapping[str, float]], model: nn.Module, accelerator: Accelerator
) -> Mapping[str, float]:
    model.eval()
    measured = validate(accelerator.unwrap_model(model))
    model.train()
    return measured


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step_loss: Callable[[nn.Module, int], StepLoss],
    plan: Plan,
    progress: Progress,
) -> StepLoss:
    """Take one step, count it in `progress`, and return its loss, without gradient."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress.updates, plan) * group.get("share", 1.0)
    loss = step_loss(model, progress.step)
    # Every process computes the loss of the global batch, with gradient for its own texts only; the processes'
    # gradients are averaged, so the factor makes their sum.
    accelerator.backward(loss.total * accelerator.num_processes)
    norm = accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
    if norm is not None:  # DeepSpeed may have none
        loss.signs["gradient_norm"] = sharding.whole(norm)
    scale = _loss_scale(accelerator)
    optimizer.step()
    optimizer.zero_grad()
    # accelerate's `optimizer_step_was_skipped` does not see that a fused optimizer has left out an overflow.
    progress.updates += not (accelerator.optimizer_step_was_skipped or _loss_scale(accelerator) < scale)
    progress.step += 1
    return replace(loss, total=loss.total.detach())


def _loss_scale(accelerator: Accelerator) -> float:
    """Return the scale of losses in fp16, which falls exactly when gradients overflow; 1 in other precisions."""
    return accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0


def _read_out(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Return numbers of a step with 6 digits; this waits for the device."""
    return {name: float(f"{tensor.item():.6g}") for name, tensor in tensors.items()}


def _check_health(values: Mapping[str, float], step: int, log: TrainingLog, doubt: health.Doubt) -> None:
    """Warn of signs that a training goes wrong; stop one that has gone wrong."""
    if reason := doubt.fault(values):
        raise InputError(f"step {step}: {reason}")
    if step > 1:
        for sign, sentence in health.warnings(values):
            log.warn(sign, sentence)
