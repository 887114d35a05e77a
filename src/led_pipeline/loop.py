"""The training loop: steps, schedule, clipping, log, checkpoints and the choice of the best step; no objective."""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from led_pipeline.files import InputError, atomic, read_json, remove, write_json

StepLoss = Callable[[nn.Module, int], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to look up."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    clip_norm: float
    log_every: int = 10
    validate_every: int = 0
    checkpoint_min: float = 30.0


def learning_rate(update: int, plan: Plan) -> float:
    """Return the rate of an update (from 0): linear rise over the warm-up, then linear fall to 0."""
    warmup = int(plan.warmup_fraction * plan.steps)
    if update < warmup:
        return plan.learning_rate * (update + 1) / warmup
    return plan.learning_rate * (plan.steps - update) / max(1, plan.steps - warmup)


def optimizer_for(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW; biases and normalisation weights (everything of one dimension) do not decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


class Checkpoints:
    """Where an unfinished training is kept: the last state, and the weights of the best step so far.

    The folder belongs to one `owner`, the fingerprint of everything that decides the result; with another owner it is
    emptied, so that a changed setting starts anew.
    """

    def __init__(self, folder: Path, owner: str, accelerator: Accelerator):
        self.folder, self.accelerator = folder, accelerator
        if accelerator.is_main_process:
            mark = folder / "owner.json"
            if not (mark.is_file() and read_json(mark) == owner):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                write_json(mark, owner)
        accelerator.wait_for_everyone()

    def save(self, progress: dict[str, Any]) -> None:
        """Keep the state of all processes; the previous state stays until this one is complete."""
        part = self.folder / "state.part"
        if self.accelerator.is_main_process:
            remove(part)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(part))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write_json(part / "progress.json", progress)
            with atomic(self.folder / "state") as temporary:
                part.replace(temporary)
            for other in set(self.folder.glob("best.*.pt")) - {self._best(progress["best_step"])}:
                remove(other)
        self.accelerator.wait_for_everyone()

    def restore(self) -> dict[str, Any] | None:
        """Load the last state into what the accelerator prepared; None where there is none."""
        if not (self.folder / "state" / "progress.json").is_file():
            return None
        self.accelerator.load_state(str(self.folder / "state"))
        return read_json(self.folder / "state" / "progress.json")

    def _best(self, step: int | None) -> Path:
        # Each step has a file of its own: a resumed training may find another best step than the killed one did.
        return self.folder / f"best.{step}.pt"

    def save_best(self, model: nn.Module, step: int) -> None:
        if self.accelerator.is_main_process:
            with atomic(self._best(step)) as temporary:
                torch.save(self.accelerator.unwrap_model(model).state_dict(), temporary)

    def load_best(self, model: nn.Module, step: int) -> None:
        weights = torch.load(self._best(step), map_location="cpu", weights_only=True)
        self.accelerator.unwrap_model(model).load_state_dict(weights)


class Log:
    """A line of JSON per event, on disk and on the terminal; only the main process writes."""

    def __init__(self, path: Path, accelerator: Accelerator):
        self.path, self.active = path, accelerator.is_main_process

    def write(self, **event: Any) -> None:
        if self.active:
            line = json.dumps(event)
            print(line, flush=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def cut(self, step: int) -> None:
        """Forget what was logged after a step, since a resumed training logs it again, and half a last line."""
        if self.active and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            with atomic(self.path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")


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
        step_loss: from the model and the step (from 0) to the loss of the whole global batch and its terms.
        validate: a measure of the model, higher is better; the best of the validated steps is kept, the last otherwise.

    Returns:
        Steps, the best step (None without validation) and seconds since this process started training.

    Raises:
        InputError: the loss is not finite.
    """
    optimizer = optimizer_for(model, plan)
    model, optimizer = accelerator.prepare(model, optimizer)
    progress = checkpoints.restore() or {"step": 0, "updates": 0, "best": None, "best_step": None}
    log = Log(checkpoints.folder / "train.jsonl", accelerator)
    log.cut(progress["step"])
    started = saved = time.monotonic()
    model.train()
    while progress["step"] < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress["updates"], plan)
        loss, terms = step_loss(model, progress["step"])
        # Every process computes the loss of the global batch, with gradient for its own texts only; the processes'
        # gradients are averaged, so the factor makes their sum.
        accelerator.backward(loss * accelerator.num_processes)
        accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        progress["updates"] += not accelerator.optimizer_step_was_skipped
        progress["step"] += 1
        step, last = progress["step"], progress["step"] == plan.steps
        if step % plan.log_every == 0 or last or step == 1:
            _log_step(log, step, {"loss": loss, **terms}, optimizer, time.monotonic() - started)
        if validate and (last or (plan.validate_every and step % plan.validate_every == 0)):
            model.eval()
            value = validate(accelerator.unwrap_model(model))
            model.train()
            log.write(step=step, validation={"MRR@10": value})
            if progress["best"] is None or value > progress["best"]:
                progress |= {"best": value, "best_step": step}
                checkpoints.save_best(model, step)
        if not last and _everyone(accelerator, time.monotonic() - saved > 60 * plan.checkpoint_min):
            checkpoints.save(progress)
            saved = time.monotonic()
    accelerator.wait_for_everyone()
    if progress["best_step"] not in (None, plan.steps):
        checkpoints.load_best(model, progress["best_step"])
    result = {"steps": plan.steps, "best_step": progress["best_step"], "seconds": round(time.monotonic() - started, 1)}
    log.write(step=plan.steps, finished=True, **result)
    return result


def _everyone(accelerator: Accelerator, mine: bool) -> bool:
    """Return what the main process found, so that all processes checkpoint at the same step or none does."""
    if accelerator.num_processes == 1:
        return mine
    flag = torch.tensor([mine], dtype=torch.int32, device=accelerator.device)
    torch.distributed.broadcast(flag, src=0)
    return bool(flag.item())


def _log_step(log: Log, step: int, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer, seconds: float) -> None:
    values = {name: float(f"{term.item():.6g}") for name, term in terms.items()}
    if not math.isfinite(values["loss"]):
        raise InputError(
            f"step {step}: the loss is {values['loss']}; lower learning_rate, or find the cause with precision: float32"
        )
    log.write(step=step, **values, learning_rate=optimizer.param_groups[0]["lr"], seconds=round(seconds, 2))
