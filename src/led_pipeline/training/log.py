"""Log of a training: train.jsonl, a line of progress on stderr, and the trackers that the recipe names."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from led_pipeline.files.atomic import atomic
from led_pipeline.files.reading import reading
from led_pipeline.jobs.peaks import peak_tflops


def flops_per_token(model: nn.Module) -> float:
    """Return the FLOPs of training on one token: 6 per weight of a linear layer, 2 forward and 4 backward.

    The product with the vocabulary's embeddings counts forward only, since its gradient visits the active terms alone.
    Attention's products, 2 % at 75 tokens, are left out, and so is the second pass of checkpointed activations.
    """
    embeddings = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    factors = [2 if layer.out_features == max(embeddings, default=0) else 6 for layer in layers]
    return float(sum(factor * layer.weight.numel() for factor, layer in zip(factors, layers, strict=True)))


def cut_log(path: Path, step: int, validated: int) -> None:
    """Remove lines that a resumed training writes again: later steps, a validation, the end, an incomplete line."""

    def is_before(line: dict[str, Any]) -> bool:
        return line["step"] <= (validated if "validation" in line else step) and "finished" not in line

    if path.is_file():
        with reading(path, "the log of this training; remove it", also=(KeyError, TypeError)):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            before = [line for line in lines if line.endswith("\n") and is_before(json.loads(line))]
        with atomic(path) as temporary:
            temporary.write_text("".join(before), encoding="utf-8")


@dataclass(frozen=True)
class Finished:
    """The end of a training."""

    steps: int
    """Optimizer steps in all."""
    best_step: int | None
    """The step whose weights it ends with; None for the last one without a choice."""
    seconds: float
    """Seconds of training, validations and checkpoints included."""


class TrainingLog:
    """Writes the log, on the main process alone; on a terminal the line of progress is a bar."""

    def __init__(
        self,
        path: Path,
        accelerator: Accelerator,
        model: nn.Module,
        steps: int,
        batch_size: int,
        texts: str = "queries",
    ):
        self.path, self.accelerator, self.steps, self.batch_size = path, accelerator, steps, batch_size
        self.texts = texts  # what batch_size counts
        self.active = accelerator.is_main_process
        self.flops = flops_per_token(model)
        half = accelerator.mixed_precision in ("bf16", "fp16") and accelerator.device.type == "cuda"
        peak = peak_tflops(torch.cuda.get_device_name(accelerator.device)) if half else None
        self.peak = peak and 1e12 * peak * accelerator.num_processes

    def start(self, step: int, validated: int, seconds: float) -> None:
        """Begin at a step; `validated` is the last validated one, `seconds` the time of training before it."""
        self.first = self.step = self.logged = step
        self.started, self.before = time.monotonic(), seconds
        self.since, self.tokens = self.started, 0
        self.warned: set[str] = set()
        if self.active:
            cut_log(self.path, step, validated)
        terminal = self.active and sys.stderr.isatty()
        self.bar = tqdm(total=self.steps, initial=step, desc=self.name, unit="step", disable=not terminal)

    @property
    def name(self) -> str:
        return self.path.parent.name  # the stage's

    def seconds(self) -> float:
        """Return the seconds of training so far, those before an interruption included."""
        return self.before + time.monotonic() - self.started

    def count(self, step: int, tokens: int) -> None:
        """Count a finished step and its tokens over all processes, without padding."""
        self.step, self.tokens = step, self.tokens + tokens
        self.bar.update(1)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time in this context, such as a validation, out of the speeds."""
        started = time.monotonic()
        yield
        self.since += time.monotonic() - started

    def losses(self, values: Mapping[str, float], signs: Mapping[str, float], learning_rate: float) -> None:
        """Log the losses and signs of health of the last step, and the speed since the last log."""
        speeds = self._speeds()
        extra = {"learning_rate": learning_rate, "seconds": round(self.seconds(), 2), "speed": speeds}
        self._write(step=self.step, **values, **extra, **({"health": signs} if signs else {}))
        if self.accelerator.trackers:
            self.accelerator.log({**values, "learning_rate": learning_rate, **speeds, **signs}, step=self.step)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "loss")
        parts = [f"loss {values['loss']:.4g}" + (f" ({terms})" if terms else "")]
        speed = f"{self.texts}_per_s"
        parts += [f"{speeds[speed]:,.0f} {self.texts}/s"] if speed in speeds else []
        parts += [f"{speeds['tokens_per_s']:,.0f} tokens/s"] if "tokens_per_s" in speeds else []
        parts += [f"{speeds['share_of_peak']:.0%} of peak"] if "share_of_peak" in speeds else []
        if self.bar.disable:
            left = tqdm.format_interval(speeds["seconds_left"])
            self.say(f"step {self.step:,} of {self.steps:,}: {', '.join([*parts, f'{left} left'])}")
        else:
            self.bar.set_postfix_str(", ".join(parts))
        self.since, self.tokens, self.logged = time.monotonic(), 0, self.step

    def _speeds(self) -> dict[str, float]:
        elapsed, now = time.monotonic() - self.since, time.monotonic()
        per_step = (now - self.started) / max(1, self.step - self.first)
        speeds = {"seconds_left": round(per_step * (self.steps - self.step), 1)}
        if elapsed > 0:
            speeds[f"{self.texts}_per_s"] = round((self.step - self.logged) * self.batch_size / elapsed, 1)
            if self.tokens:
                speeds["tokens_per_s"] = round(self.tokens / elapsed, 1)
            if self.tokens and self.peak:
                speeds["share_of_peak"] = round(self.flops * self.tokens / elapsed / self.peak, 4)
        return speeds

    def validation(self, measured: Mapping[str, float]) -> None:
        """Log the measures of a validation; the first one decides about the weights."""
        self._write(step=self.step, validation=dict(measured))
        if self.accelerator.trackers:
            self.accelerator.log({f"validation/{name}": value for name, value in measured.items()}, step=self.step)
        values = ", ".join(f"{name} {value:.4f}" for name, value in measured.items())
        self.say(f"step {self.step:,}: validation {values}")

    def finish(self, best_step: int | None) -> Finished:
        """Log the end of the training."""
        result = Finished(self.steps, best_step, round(self.seconds(), 1))
        self._write(step=self.step, finished=True, **asdict(result))
        self.bar.close()
        return result

    def warn(self, sign: str, sentence: str) -> None:
        """Print a warning, once per sign."""
        if sign not in self.warned:
            self.warned.add(sign)
            self.say(f"warning: step {self.step:,}: {sentence}")

    def say(self, sentence: str) -> None:
        """Write a line to stderr, above the bar where there is one."""
        if self.active:
            tqdm.write(f"{self.name}: {sentence}", file=sys.stderr)
            sys.stderr.flush()

    def _write(self, **event: Any) -> None:
        if self.active:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
