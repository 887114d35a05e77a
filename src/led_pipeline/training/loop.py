"""Loop: optimizer steps, schedule, clipping, checkpoints, validations, and the choice of the best step."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from led_pipeline.files.errors import InputError
from led_pipeline.training import exchange, health, sharding
from led_pipeline.training.agreement import Agreement
from led_pipeline.training.checkpoints import Checkpoints, Progress
from led_pipeline.training.log import Finished, TrainingLog
from led_pipeline.training.plan import Plan, learning_rate, optimizer_for
from led_pipeline.training.step_loss import StepLoss, mean_of

STOPPED = "stopped at step {step} by SIGTERM, checkpoint saved; start it again to continue"


def fit(
    accelerator: Accelerator,
    model: nn.Module,
    step_loss: Callable[[nn.Module, int], StepLoss],
    plan: Plan,
    checkpoints: Checkpoints,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    save_model: Callable[[int], None] | None = None,
) -> Finished:
    """Train a model, resuming where an interrupted training stopped, and leave it with the weights to keep.

    Args:
        step_loss: from the model and the batch (from 0) to the loss of the whole global batch. A step takes one batch,
            or several, whose gradients are averaged (`Plan.accumulation`).
        validate: measures of the model by name, higher is better; the untrained model is never measured.
        save_model: saves the model of a step on the way, if the plan asks for that; all processes call it.

    Raises:
        InputError: the training has gone wrong (`health.fault`).
        SystemExit: SIGTERM came; the state is saved.
    """
    log = TrainingLog(checkpoints.folder / "train.jsonl", accelerator, model, plan.steps, plan.batch_size, plan.texts)
    model, optimizer = exchange.prepare(accelerator, model, optimizer_for(model, plan), plan.gradient_exchange)
    doubt, progress = health.Doubt(plan.batch_size), checkpoints.restore() or Progress()
    log.start(progress.step, progress.validated, progress.seconds)
    model.train()
    with Agreement(accelerator) as everyone:
        while True:
            if validate and progress.validated < progress.step and _is_validated(progress.step, plan):
                _save(checkpoints, progress, log)  # a stop during the validation costs nothing else
                with log.pause(), everyone.ending_at_once(STOPPED.format(step=progress.step)):
                    measured = _measure(validate, model, accelerator)
                log.validation(measured)
                _note_validation(measured[plan.measure], progress, plan, checkpoints, model)
            if progress.step == plan.steps:
                break
            loss = _step(accelerator, model, optimizer, step_loss, plan, progress)
            step, last = progress.step, progress.step == plan.steps
            state = (everyone.stop, checkpoints.minutes() > plan.checkpoint_min, loss.tokens)
            stop, overdue_anywhere, tokens = everyone.all_reduce_sum(*state)
            log.count(step, tokens)
            due = bool(overdue_anywhere) or _is_every(plan.checkpoint_steps, step)
            save = bool(stop) or (due and not last)
            logged = last or step == 1 or step % plan.log_every == 0
            on_the_way = save_model if _is_every(plan.save_model_steps, step) and not last else None
            if save or logged or on_the_way:
                _look_at(loss, step, log, doubt, optimizer.param_groups[0]["lr"] if logged else None)
            if on_the_way:
                with log.pause():
                    on_the_way(step)
            if save:
                _save(checkpoints, progress, log)
            if stop:
                accelerator.end_training()
                raise everyone.end(STOPPED.format(step=progress.step))
    accelerator.wait_for_everyone()
    if progress.best_step is not None and progress.best_step != plan.steps:
        checkpoints.load_best(model, progress.best_step)
    return log.finish(progress.best_step)


def _note_validation(value: float, progress: Progress, plan: Plan, checkpoints: Checkpoints, model: nn.Module) -> None:
    """Note that a step was validated, and save its weights if it is the best one."""
    progress.validated = progress.step
    if plan.keep == "best" and (progress.best is None or value > progress.best):
        progress.best, progress.best_step = value, progress.step
        checkpoints.save_best(model, progress.step)


def _save(checkpoints: Checkpoints, progress: Progress, log: TrainingLog) -> None:
    with log.pause():
        checkpoints.save(replace(progress, seconds=log.seconds()))


def _is_every(steps: int | None, step: int) -> bool:
    return steps is not None and step % steps == 0


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
    """Take one step, count it in `progress`, and return the mean loss of its batches, without gradient."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress.updates, plan) * group.get("share", 1.0)
    batches, parts = plan.batches_of(progress.step), []
    for batch in batches:
        with sharding.adding_gradients(accelerator, model, last=batch == batches[-1]):
            part = step_loss(model, batch)
            # Every process computes the loss of the global batch, with gradient for its own texts only; the processes'
            # gradients are averaged, so the factor makes their sum.
            accelerator.backward(part.total * accelerator.num_processes / len(batches))
        parts.append(replace(part, total=part.total.detach()))
    loss = mean_of(parts)
    norm = accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
    if norm is not None:  # DeepSpeed may have none
        loss.signs["gradient_norm"] = sharding.whole(norm)
    scale = _loss_scale(accelerator)
    optimizer.step()
    optimizer.zero_grad()
    # accelerate's `optimizer_step_was_skipped` does not see that a fused optimizer has left out an overflow.
    progress.updates += not (accelerator.optimizer_step_was_skipped or _loss_scale(accelerator) < scale)
    progress.step += 1
    return loss


def _loss_scale(accelerator: Accelerator) -> float:
    """Return the scale of losses in fp16, which falls exactly when gradients overflow; 1 in other precisions."""
    return accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0


def _read_out(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Return numbers of a step with 6 digits; this waits for the device."""
    return {name: float(f"{tensor.item():.6g}") for name, tensor in tensors.items()}


def _look_at(loss: StepLoss, step: int, log: TrainingLog, doubt: health.Doubt, rate: float | None) -> None:
    """Check the health of a training at a step, and log the step if its learning rate is there."""
    values, signs = _read_out({"loss": loss.total} | loss.terms), _read_out(loss.signs)
    _check_health(values | signs, step, log, doubt)
    if rate is not None:
        log.losses(values, signs, rate)


def _check_health(values: Mapping[str, float], step: int, log: TrainingLog, doubt: health.Doubt) -> None:
    """Warn of signs that a training goes wrong; stop one that has gone wrong."""
    if reason := doubt.fault(values):
        raise InputError(f"step {step}: {reason}")
    if step > 1:
        for sign, sentence in health.warnings(values):
            log.warn(sign, sentence)
