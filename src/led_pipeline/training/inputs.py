"""Inputs of a training: its files and settings, and the fingerprint that a checkpoint belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from led_pipeline.files.digests import digest, fingerprint
from led_pipeline.recipe import accelerate_file, user_files
from led_pipeline.recipe.settings import Optimisation
from led_pipeline.recipe.step_settings import MaskedLmTraining, RunningSettings, TrainingSettings
from led_pipeline.training.validation import ValidationFiles
from led_pipeline.versions import VERSIONS


class Optimised(Protocol):
    """What all trainings have."""

    @property
    def settings(self) -> Optimisation: ...

    @property
    def running(self) -> RunningSettings: ...

    @property
    def checkpoints(self) -> Path: ...


@dataclass(frozen=True)
class Training:
    """The training of one stage, as the command line describes it."""

    init: str
    """The folder or hub id of the model to start from."""
    tokenizer: str
    """The folder or hub id of the tokenizer."""
    queries: Path
    """Token ids of the training queries."""
    passages: Sequence[Path]
    """Token ids of the collection, in shards."""
    trainset: Path
    """The examples of all epochs."""
    settings: TrainingSettings
    """What decides the result."""
    checkpoints: Path
    """The folder of unfinished work, and of the log."""
    out: Path
    """The folder to write."""
    query_init: str | None = None
    """What an untied query encoder starts from, unless it is `init`."""
    running: RunningSettings = field(default_factory=RunningSettings)
    """What no result depends on."""
    adopted: Sequence[str] = ()
    """Sentences about settings that come from the folder of `init`, for the log."""
    validation: ValidationFiles | None = None
    """What to validate on; None: not at all."""
    teacher_vectors: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Vectors of the queries, then of the passages, of each teacher that scores all passages of a batch."""

    def fingerprint(self, processes: int) -> str:
        """Return a text that changes with anything that decides the weights; a checkpoint belongs to it."""
        folders = [Path(name) for name in (self.init, self.query_init) if name]
        files = [self.trainset, self.queries, *self.passages]
        files += [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
        if self.validation:
            files += filter(None, (self.validation.ranking, self.validation.queries, self.validation.qrels))
        files += [path for paths in self.teacher_vectors.values() for path in paths]
        files += [Path(file) for file in user_files.files(self.settings)]
        validation = self.validation.settings.model_dump(mode="json") if self.validation else None
        values = [VERSIONS["train"], self.settings.model_dump(mode="json"), validation, self.init]
        return fingerprint(
            [*values, [digest(file) for file in files], processes, *accelerate_file.kind(self.running.accelerate)]
        )


@dataclass(frozen=True)
class MaskedTraining:
    """The training of a masked language model, as the command line describes it."""

    init: str
    """The folder or hub id of the model to start from."""
    tokenizer: str
    """The folder or hub id of its tokenizer."""
    passages: Sequence[Path]
    """Token ids of the collection, in shards."""
    settings: MaskedLmTraining
    """What decides the result."""
    checkpoints: Path
    """The folder of unfinished work, and of the log."""
    out: Path
    """The folder to write."""
    running: RunningSettings = field(default_factory=RunningSettings)
    """What no result depends on."""

    def fingerprint(self, processes: int) -> str:
        """Return a hash of everything that decides the result; see `Training.fingerprint`."""
        files = [*self.passages, *map(Path, user_files.files(self.settings))]
        values = [VERSIONS["masked_lm"], self.settings.model_dump(mode="json"), self.init]
        return fingerprint(
            [*values, [digest(file) for file in files], processes, *accelerate_file.kind(self.running.accelerate)]
        )
