"""Run files: what a run has on disk for its systems, and what is missing for a search."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from led_pipeline.fetch.hub import is_local
from led_pipeline.files import folder_names
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.needs import Files
from led_pipeline.search.indexes import NOTE, checked_note
from led_pipeline.use.records import Engine

if TYPE_CHECKING:
    from led_pipeline.use.encoders import StageModel


class Unavailable(Exception):
    """A system cannot answer; the message says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """The files of a run, and the engines of other systems that an engine may use."""

    recipe: Recipe
    layout: Layout
    passages: int
    threads: int
    engine: Callable[[str], Engine]

    @property
    def on_node(self) -> bool:
        """Whether an OpenSearch node has the indexes, and not this disk."""
        return self.recipe.search.backend == "opensearch"

    @property
    def _folder(self) -> Path:
        """The folder that the run started in, which has results/."""
        return Path(self.layout.root).absolute().parent.parent

    def files(self, stage: str) -> Files:
        """Return the paths of a stage's files."""
        return Files(self.recipe, self.layout, (), {self.recipe.tokenizer_of(stage): self._tokens(stage)})

    def _tokens(self, stage: str) -> str:
        """Return the folder of a stage's tokens; a tokenizer's path is relative to the folder of the run.

        A tokenizer that is a folder may be gone by now, and looks like a hub id then: what is on disk decides.
        """
        name, start = self.recipe.tokenizer_of(stage), self._folder
        path = Path(name).relative_to(start) if Path(name).is_relative_to(start) else Path(name)
        local = is_local(name) or (start / path).is_dir()
        folders = [
            folder_names.of_tokenizer(str(path) if each else name, self.recipe.stages, each)
            for each in (local, not local)
        ]
        on_disk = (folder for folder in folders if Path(self.layout.passage_tokens(folder, 0)).is_file())
        return next(on_disk, folders[0])

    def again(self, path: str | Path) -> str:
        """Return the advice to make a file of the run."""
        return f"make it with `snakemake --configfile CONFIG -- {os.path.relpath(path, self._folder)}`"

    def model(self, stage: str) -> "StageModel":
        from led_pipeline.use.encoders import StageModel  # it loads torch

        precision = self.recipe.model_stage(stage).inference_precision
        return StageModel(
            Path(self.layout.model(stage)), self.recipe.dataset.max_tokens, precision, threads=self.threads
        )

    def check_model(self, stage: str) -> None:
        if not Path(self.layout.model_note(stage)).is_file():
            raise Unavailable(f"it has no model yet, {self.again(self.layout.model(stage))}")

    def present(self, paths: list[str], subject: str) -> list[Path]:
        """Return paths if all of them exist."""
        lost = [path for path in paths if not Path(path).exists()]
        if lost:
            raise Unavailable(f"{subject} {lost[0]} is missing, {self.again(lost[0])}")
        return [Path(path) for path in paths]

    def has_index(self, system: str) -> bool:
        return Path(self.layout.index(system), NOTE).is_file()

    def checked_note(self, system: str, **expected: str | float) -> dict[str, str | float]:
        """Return what the note of an index must say, after checking that it does."""
        expected["passages"] = self.passages
        try:
            checked_note(Path(self.layout.index(system)), expected)
        except InputError as error:
            raise Unavailable(str(error)) from error
        return expected


def lucene_fault() -> str | None:
    """Return what is missing to search Lucene indexes, or None."""
    lost = [name for module, name in (("jpype", "JPype1"), ("pyserini", "pyserini")) if not find_spec(module)]
    return f"the package {lost[0]} is missing, install what envs/anserini.txt pins (make env)" if lost else None


def check_lucene() -> None:
    if fault := lucene_fault():
        raise Unavailable(f"it needs Lucene, and {fault}")


def check_node() -> None:
    if not find_spec("opensearchpy"):
        raise Unavailable("it needs an OpenSearch node, and the package opensearch-py is missing, install it")
    if not os.environ.get("OPENSEARCH_URL"):
        raise Unavailable("it needs an OpenSearch node, name its address in OPENSEARCH_URL")
