"""The recipe as a graph of stages: what each takes from others, in which order, and with which settings."""

from collections.abc import Callable
from typing import Any

from pydantic import Field

from led_pipeline.recipe import user_files
from led_pipeline.recipe.dataset import Dataset
from led_pipeline.recipe.schema import (
    QRELS,
    Bm25,
    Evaluation,
    JobResources,
    Mining,
    Name,
    Resources,
    Search,
    Section,
    Seed,
    Validation,
)
from led_pipeline.recipe.stages import Ranker, Stage, Trained
from led_pipeline.recipe.steps import keys_of


class Recipe(Section):
    """A whole recipe. Keys under `defaults` apply to every stage whose family has them and which does not set them."""

    dataset: Dataset
    """the texts and judgements"""
    tokenizer: str = "bert-base-uncased"
    """a stage, a local folder or a hub id; stages may name their own"""
    seed: Seed = 42
    """seed of every draw and every training without a seed of its own"""
    bm25: Bm25 = Bm25()
    """parameters of BM25"""
    mining: Mining = Mining()
    """depth of the rankings from which negatives are drawn"""
    validation: Validation | None = None
    """validation during training; null: none"""
    evaluation: Evaluation = Evaluation()
    """the final measures and comparisons"""
    resources: Resources = Resources()
    """the resources of each kind of job"""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """keys for every stage whose family has them"""
    stages: dict[Name, Stage]
    """the graph: name -> stage"""
    search: Search = Search()
    """the search engine of BM25 and lexicon stages"""

    def parents(self, name: str) -> set[str]:
        """Return the stages that a stage takes its weights, tokenizer, negatives or scores from."""
        stage = self.stages[name]
        if not isinstance(stage, Trained):
            return set()
        named = {stage.init, self.tokenizer_of(name), getattr(stage, "query_init", None)}
        if stage.train:
            named |= {*stage.negative_systems, *(system for teacher in stage.teachers for system in teacher.systems)}
        if self.validates(name):
            named.add(self.validation.system)
        if isinstance(stage, Ranker):
            named.add(stage.rerank.system)
        return {other for other in named if other in self.stages}

    def order(self) -> list[str]:
        """Return the stages, each after those it needs, otherwise as the config lists them."""
        done: list[str] = []
        while len(done) < len(self.stages):
            done.append(next(n for n in self.stages if n not in done and self.parents(n) <= set(done)))
        return done

    def names(self, *families: str) -> list[str]:
        """Return the names of the stages of some families."""
        return [name for name, stage in self.stages.items() if stage.family in families]

    @property
    def retrievers(self) -> list[str]:
        return self.names("dense", "lexicon")

    def teachers(self, name: str, *, in_batch: bool) -> list[str]:
        """Return the systems that a stage learns from, each once.

        Args:
            in_batch: those that score all passages of a batch, from their vectors; otherwise those whose scores of the
                trainset's passages are stored, to which grades always belong.
        """
        found = [
            (system, teacher.candidates != "own" and system != QRELS)
            for teacher in self.stages[name].teachers
            for system in teacher.systems
        ]
        return list(dict.fromkeys(system for system, batch in found if batch == in_batch))

    @property
    def systems(self) -> list[str]:
        """Everything that ranks: BM25, then the stages in order."""
        return ["bm25", *(n for n in self.order() if self.stages[n].family != "pretrain")]

    def tokenizer_of(self, name: str) -> str:
        return getattr(self.stages[name], "tokenizer", None) or self.tokenizer

    def validates(self, name: str) -> bool:
        """Return whether a stage re-ranks validation queries while it is trained."""
        stage = self.stages[name]
        return self.validation is not None and isinstance(stage, Trained) and stage.train and stage.validation

    def validates_by_search(self, name: str) -> bool:
        """Return whether the candidates of a stage's validation are some system's ranking."""
        return self.validates(name) and self.validation.system != QRELS

    def job(self, kind: str, stage: str | None = None) -> JobResources:
        """Return what a job of some kind asks for; a stage's own `resources` are those of its training."""
        own = self.stages[stage].resources if stage and kind == "train" else None
        return own or getattr(self.resources, kind)

    def processes(self, stage: str) -> int:
        """Return the number of training processes of a stage: on each node one per GPU, one without a GPU."""
        resources = self.job("train", stage)
        return resources.nodes * max(1, resources.gpu)

    def running(self, name: str) -> dict[str, Any]:
        """Return the settings of a stage's training that no result depends on, those of its machine included."""
        said = {"accelerate": self.job("train", name).accelerate}
        return self.settings("running", name) | {key: value for key, value in said.items() if value}

    def settings(self, step: str, name: str, rename: Callable[[str], str] | None = None) -> dict[str, Any]:
        """Return exactly the settings of a stage that a step's output depends on, as JSON values.

        Args:
            rename: gives each of the user's files that they name another name.
        """
        stage = self.stages[name]
        keys = keys_of(step, type(stage))
        if rename is not None:
            stage = user_files.renamed(stage, rename, keys)
        values = stage.model_dump(mode="json")
        values["seed"] = self.seed if stage.seed is None else stage.seed
        return {key: values[key] for key in keys}
