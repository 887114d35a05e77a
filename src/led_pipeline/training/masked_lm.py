"""Train a masked language model under torchrun: tokens and bags of words of the collection's passages.

Run as `torchrun -m led_pipeline.training.masked_lm --init MODEL --tokenizer TOKENIZER --passages TOKENS... --settings
JSON --running JSON --checkpoints DIR --out DIR`.

Every epoch visits each passage with a token once, in an order of its own; the last batch is filled up from the start.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from numpy.typing import NDArray
from torch import nn

from led_pipeline.data import masking
from led_pipeline.data.order import batch_rows
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.models import limits, masked_lm
from led_pipeline.models.saved_model import origins
from led_pipeline.recipe.step_settings import MaskedLmTraining, RunningSettings, parser_of
from led_pipeline.training import sharding
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.device_use import DeviceUse
from led_pipeline.training.inputs import MaskedTraining
from led_pipeline.training.loop import fit
from led_pipeline.training.masked_objective import Part, bow_weight, masked_loss, trainable
from led_pipeline.training.plan import build_plan
from led_pipeline.training.records import machine, write_records
from led_pipeline.training.step_loss import StepLoss
from led_pipeline.training.train import batch_size, new_accelerator, start_trackers


class Passages:
    """The passages of every step, as one process reads them.

    Args:
        rows: the passages of an epoch.
        local: this process's part of every batch.
    """

    def __init__(
        self,
        store: TokenStore,
        rows: NDArray[np.int64],
        words: masking.Vocabulary,
        settings: MaskedLmTraining,
        local: slice,
        device: torch.device,
    ):
        self.store, self.rows, self.words, self.settings = store, rows, words, settings
        self.local, self.device = local, device
        self.size = min(settings.batch_size, len(rows))
        self._order = lru_cache(maxsize=1)(self._shuffled)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.settings.seed, epoch)).permutation(self.rows)

    def parts(self, step: int) -> Sequence[Part]:
        """Return the passages of a step, masked and sorted by length, in parts of at most `gradient_cache`."""
        settings, count = self.settings, len(self.rows)
        drawn = batch_rows(step, count, self.size)
        rows = self._order(int(drawn[0] // count))[drawn % count][self.local]
        numbers = masking.draw(settings.seed, step, self.local.start, len(rows), settings.passage_length)
        longest_first = np.argsort(-self.store.lengths(rows, settings.passage_length), kind="stable")
        at_once = settings.gradient_cache or len(rows)
        parts = []
        for first in range(0, len(rows), at_once):
            these = longest_first[first : first + at_once]
            texts = self.store.texts(rows[these], settings.passage_length)
            batch = masking.mask(texts, numbers[these], settings.masked, self.words)
            parts.append(Part.of(batch, bool(settings.bow_weight), self.device))
        return parts


def train(training: MaskedTraining) -> None:
    """Train a masked language model, or go on with an interrupted training, and write its folder."""
    settings = training.settings
    accelerator = new_accelerator(training)
    world, rank = accelerator.num_processes, accelerator.process_index
    set_seed((settings.seed + rank) % 2**32)
    store = TokenStore(training.passages)
    words = masked_lm.vocabulary_of(training.tokenizer, store, settings)
    rows = np.flatnonzero(store.has_tokens(np.arange(len(store))))
    if not len(rows):
        raise InputError("the collection has no passage with a token; are these the right texts?")
    size = batch_size(settings.batch_size, len(rows), world, "passages")
    local = slice(rank * size // world, (rank + 1) * size // world)
    passages = Passages(store, rows, words, settings, local, accelerator.device)

    def begin() -> tuple[masked_lm.MaskedLm, nn.Module]:
        encoder = masked_lm.start(training.init, settings)
        return encoder, trainable(encoder, bool(settings.gradient_cache), settings.gradient_checkpointing)

    encoder, model = begin()
    limits.check_vocabulary(encoder, store.vocabulary, training.tokenizer)
    limits.check_length("passage_length", settings.passage_length, 0, encoder)
    for text in origins(encoder) if accelerator.is_main_process else ():
        print(text, flush=True)
    sharding.make_ready(accelerator, model, settings.precision)
    plan = build_plan(settings, training.running, len(rows), None)

    def step_loss(model: nn.Module, batch: int) -> StepLoss:
        step = batch // settings.gradient_accumulation
        return masked_loss(model, passages.parts(batch), size, bow_weight(settings, step, plan.steps))

    def save_at(path: Path, record: dict[str, object] | None = None) -> None:
        trained = sharding.unsharded(accelerator, encoder, model, begin)
        if accelerator.is_main_process:
            _write(trained, training, path, record)
        accelerator.wait_for_everyone()

    save_on_the_way = lambda step: save_at(training.checkpoints / "models" / f"step.{step}")  # noqa: E731
    owner = training.fingerprint(world) if accelerator.is_main_process else ""
    with closing(Checkpoints(training.checkpoints, owner, accelerator)) as checkpoints:
        start_trackers(accelerator, training)
        use = DeviceUse(accelerator)
        done = fit(accelerator, model, step_loss, plan, checkpoints, save_model=save_on_the_way)
        record = machine(accelerator) | use.totals(done.seconds)
        save_at(training.out, record)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _write(model: nn.Module, training: MaskedTraining, path: Path, record: dict[str, object] | None) -> None:
    """Write a model folder; with the records of the training (`record`: the machine) if it is the finished one."""
    assert isinstance(model, masked_lm.MaskedLm)
    with atomic(path) as folder:
        folder.mkdir()
        masked_lm.save(model, training.tokenizer, folder)
        if record is not None:
            write_records(folder, training, record)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a masked language model on the passages of a collection.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--passages", required=True, nargs="+", type=Path)
    parser.add_argument("--settings", required=True, type=parser_of(MaskedLmTraining))
    running = parser_of(RunningSettings, "--running")
    parser.add_argument("--running", type=running, default=RunningSettings(), help="what no result depends on")
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    train(MaskedTraining(a.init, a.tokenizer, a.passages, a.settings, a.checkpoints, a.out, a.running))


if __name__ == "__main__":
    run_main(main)
