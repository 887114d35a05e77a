"""The training loop: steps, schedule, clipping, checkpoints and the choice of the step to keep; no objective."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from led_pipeline.files.errors import InputError
from led_pipeline.training import health
from led_pipeline.training.agreement import Agreement
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.watch import Watch

# The loss of the global batch, and numbers to watch: its terms, the signs of `health`, and the own texts' `tokens`.
StepLoss = Callable[[nn.Module, int], tuple[Tensor, dict[str, Tensor]]]

START = {"step": 0, "updates": 0, "validated": 0, "best": None, "best_step": None, "seconds": 0.0}
STOPPED = "stopped at step {step} by SIGTERM, checkpoint kept, start again to go on"


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to look up."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    clip_norm: float
    batch_size: int = 1  # queries per step, for the speed in the log
    log_every: int = 10
    validate_every: int = 0
    keep: str = "best"  # of the validated steps the best one, or "last"
    measure: str = "MRR@10"  # the name of what a validation returns
    checkpoint_min: float = 30.0
    checkpoint_steps: int | None = None
    own_rates: Mapping[str, float] = field(default_factory=dict)  # by the end of a parameter's name


def learning_rate(update: int, plan: Plan) -> float:
    """Return the rate of an update (from 0): linear rise over the warm-up, then linear fall to 0."""
    warmup = int(plan.warmup_fraction * plan.steps)
    if update < warmup:
        return plan.learning_rate * (update + 1) / warmup
    return plan.learning_rate * (plan.steps - update) / max(1, plan.steps - warmup)


def optimizer_for(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW; biases and normalisation weights (everything of one dimension) do not decay.

    Parameters with a learning rate of their own are a group whose `share` of the common one is that rate.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own = {end: [p for name, p in named.items() if name.endswith(end)] for end in plan.own_rates}
    taken = {id(p) for group in own.values() for p in group}
    parameters = [p for p in named.values() if id(p) not in taken]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    for end, group in own.items():
        groups.append({"params": group, "weight_decay": 0.0, "share": plan.own_rates[end] / plan.learning_rate})
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def fit(
    accelerator: Accelerator,
    model: nn.Module,
    step_loss: StepLoss,
    plan: Plan,
    checkpoints: Checkpoints,
    validate: Callable[[nn.Module], float] | None = None,
) -> dict[str, Any]:
    """Train a model, resuming where an interrupted training stopped, and leave it with the weights to keep.

    Args:
        step_loss: from the model and the step (from 0) to the loss of the whole global batch and what to watch.
        validate: a measure of the model, higher is better; the untrained model is never measured.

    Returns:
        Steps, the best step (None unless the best one is kept) and seconds of training.

    Raises:
        InputError: the training has gone wrong (`health.fault`).
        SystemExit: SIGTERM came; the state is kept.
    """
    watch = Watch(checkpoints.folder / "train.jsonl", accelerator, model, plan.steps, plan.batch_size)
    optimizer, doubt = optimizer_for(model, plan), health.Doubt(plan.batch_size)
    model, optimizer = accelerator.prepare(model, optimizer)
    progress = checkpoints.restore() or dict(START)
    watch.start(**progress)
    model.train()
    with Agreement(accelerator) as everyone:
        while True:
            if validate and progress["validated"] < progress["step"] and _is_validated(progress["step"], plan):
                _keep(checkpoints, progress, watch)  # a stop during the measuring costs nothing else
                with watch.pause(), everyone.ending_at_once(STOPPED.format(**progress)):
                    value = _measure(validate, model, accelerator)
                watch.validation(plan.measure, value)
                progress["validated"] = progress["step"]
                if plan.keep == "best" and (progress["best"] is None or value > progress["best"]):
                    progress |= {"best": value, "best_step": progress["step"]}
                    checkpoints.save_best(model, progress["step"])
            if progress["step"] == plan.steps:
                break
            terms = _step(accelerator, model, optimizer, step_loss, plan, progress)
            step, last = progress["step"], progress["step"] == plan.steps
            late = checkpoints.minutes() > plan.checkpoint_min
            stop, late, tokens = everyone.sums(everyone.stop, late, int(terms.pop("tokens", 0)))
            watch.count(step, tokens)
            rhythm = plan.checkpoint_steps and step % plan.checkpoint_steps == 0
            keep = stop or (not last and (late or rhythm))
            log = last or step == 1 or step % plan.log_every == 0
            if keep or log:
                values = _healthy(terms, step, watch, doubt)
            if log:
                watch.losses(values, optimizer.param_groups[0]["lr"])
            if keep:
                _keep(checkpoints, progress, watch)
            if stop:
                accelerator.end_training()
                raise everyone.end(STOPPED.format(**progress))
    accelerator.wait_for_everyone()
    if progress["best_step"] not in (None, plan.steps):
        checkpoints.load_best(model, progress["best_step"])
    return watch.finish(progress["best_step"])


def _keep(checkpoints: Checkpoints, progress: dict[str, Any], watch: Watch) -> None:
    with watch.pause():
        checkpoints.save(progress | {"seconds": watch.seconds()})


def _is_validated(step: int, plan: Plan) -> bool:
    return step == plan.steps or bool(plan.validate_every and step % plan.validate_every == 0)


def _measure(validate: Callable[[nn.Module], float], model: nn.Module, accelerator: Accelerator) -> float:
    model.eval()
    value = validate(accelerator.unwrap_model(model))
    model.train()
    return value


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step_loss: StepLoss,
    plan: Plan,
    progress: dict[str, Any],
) -> dict[str, Tensor]:
    """Take one step, count it in `progress`, and return the loss and what to watch."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress["updates"], plan) * group.get("share", 1.0)
    loss, terms = step_loss(model, progress["step"])
    # Every process computes the loss of the global batch, with gradient for its own texts only; the processes'
    # gradients are averaged, so the factor makes their sum.
    accelerator.backward(loss * accelerator.num_processes)
    accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
    scale = _loss_scale(accelerator)
    optimizer.step()
    optimizer.zero_grad()
    # accelerate's `optimizer_step_was_skipped` does not see that a fused optimizer has left out an overflow.
    progress["updates"] += not (accelerator.optimizer_step_was_skipped or _loss_scale(accelerator) < scale)
    progress["step"] += 1
    return {"loss": loss.detach(), **terms}


def _loss_scale(accelerator: Accelerator) -> float:
    """Return what losses are scaled by in fp16, which falls exactly when gradients overflow; elsewhere 1."""
    return accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0


def _healthy(terms: dict[str, Tensor], step: int, watch: Watch, doubt: health.Doubt) -> dict[str, float]:
    """Read out what a step gave; warn of what goes wrong, and stop at what has gone wrong."""
    values = {name: float(f"{term.item():.6g}") for name, term in terms.items()}
    if reason := doubt.fault(values):
        raise InputError(f"step {step}: {reason}")
    if step > 1:
        for sign, sentence in health.warnings(values):
            watch.warn(sign, sentence)
    return values
