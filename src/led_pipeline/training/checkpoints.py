"""Checkpoints: the state of an unfinished training on disk, complete at every moment, so that it can be resumed."""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from led_pipeline.files.atomic import atomic, keep_through_power_loss, naming_a_full_disk, remove, write_json
from led_pipeline.files.reading import read_json
from led_pipeline.jobs import locks
from led_pipeline.training import sharding

PATIENCE_S = 120  # longer than the remaining processes of a killed training take to end


@dataclass
class Progress:
    """How far a training has come: what a checkpoint holds beside weights, optimizer and random states."""

    step: int = 0
    """Steps taken."""
    updates: int = 0
    """Steps that changed the weights; the loss scaler of fp16 skips some."""
    validated: int = 0
    """The last step that was validated."""
    best: float | None = None
    """The best value of a validation."""
    best_step: int | None = None
    """The step of that value, whose weights are kept; None where the last weights are used."""
    seconds: float = 0.0
    """Seconds of training, those before an interruption included."""


class Checkpoints:
    """The last state of all processes, and the weights of the best step so far.

    `progress.json` decides: its step names the folder `state.STEP` and the file of the best weights. It is replaced by
    one rename, after the new state is complete and before the old one is removed, so a kill always leaves one complete
    state.

    The folder belongs to one `owner`, the fingerprint of everything that decides the result. Another owner empties it,
    so a changed setting starts from step 0. All processes of a training hold the folder's lock until they end: another
    training of the stage waits for the last of them.

    Raises:
        InputError: another training has not ended within PATIENCE_S.
    """

    def __init__(self, folder: Path, owner: str, accelerator: Accelerator):
        self.folder, self.accelerator = folder, accelerator
        self.saved: int | None = None  # the step of the state on disk
        self._since = time.monotonic()
        lock = folder / "lock"
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locks.wait_for(lock, "another training writes its checkpoints here", PATIENCE_S)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            self._lock = locks.join(lock, accelerator.process_index)
        elif not ((mark := folder / "owner.json").is_file() and read_json(mark) == owner):
            for other in set(folder.iterdir()) - {lock}:
                remove(other)
            write_json(mark, owner)
        accelerator.wait_for_everyone()

    def save(self, progress: Progress) -> None:
        """Write the state of all processes; all of them call it at the same step."""
        state = self._state(progress.step)
        if self.saved != progress.step:
            if self.accelerator.is_main_process:
                remove(state)  # an incomplete state, if a process was killed here
            self.accelerator.wait_for_everyone()
            with naming_a_full_disk(state):
                self.accelerator.save_state(str(state))
            self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            keep_through_power_loss(state)
            write_json(self.folder / "progress.json", asdict(progress))
            self._remove_all_but(progress)
        self.saved, self._since = progress.step, time.monotonic()
        self.accelerator.wait_for_everyone()

    def _remove_all_but(self, progress: Progress) -> None:
        in_use = {self._state(progress.step), self._best(progress.best_step)}
        present = {path for name in ("state.*", "best.*.pt", ".*.part") for path in self.folder.glob(name)}
        for other in present - in_use:
            remove(other)

    def close(self) -> None:
        """Release this process's share of the lock, for another training in the same process."""
        os.close(self._lock)

    def minutes(self) -> float:
        """Return the minutes since the last save or, before the first one, since the start."""
        return (time.monotonic() - self._since) / 60

    def restore(self) -> Progress | None:
        """Load the last state into the prepared model and optimizer; None if there is no state."""
        if not (self.folder / "progress.json").is_file():
            return None
        progress = Progress(**read_json(self.folder / "progress.json"))
        if self.accelerator.is_main_process:
            self._remove_all_but(progress)  # an incomplete state, of a training that a full disk or a kill ended
        self.accelerator.load_state(str(self._state(progress.step)))
        self.saved = progress.step
        return progress

    def _state(self, step: int) -> Path:
        return self.folder / f"state.{step}"

    def _best(self, step: int | None) -> Path:
        # One file per step: a resumed training may have another best step than the killed one.
        return self.folder / f"best.{step}.pt"

    def save_best(self, model: nn.Module, step: int) -> None:
        weights = sharding.weights(self.accelerator, model)
        if self.accelerator.is_main_process:
            with atomic(self._best(step)) as temporary:
                torch.save(weights, temporary)

    def load_best(self, model: nn.Module, step: int) -> None:
        weights = torch.load(self._best(step), map_location="cpu", weights_only=True)
        sharding.load_weights(self.accelerator, model, weights)
