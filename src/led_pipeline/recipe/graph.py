"""The recipe: its stages, what jobs ask for, and the settings of each step; `needs` has the edges between stages."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from led_pipeline.recipe import user_files
from led_pipeline.recipe.dataset import Dataset
from led_pipeline.recipe.schema import (
    QRELS,
    Bm25,
    Evaluation,
    JobResources,
    LeftOut,
    Mining,
    Name,
    Resources,
    Search,
    Section,
    Seed,
    TrainingResources,
    Validation,
)
from led_pipeline.recipe.stages import MaskedLm, Model, Output, Pretrain, Stage, Started, Trained
from led_pipeline.recipe.steps import keys_of
from led_pipeline.recipe.systems import Fusion
from led_pipeline.recipe.variants import Variant

JobKind = Literal["train", "encode", "score", "search", "cpu"]


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
    variants: Annotated[dict[Name, Variant], LeftOut()] = {}
    """smaller vectors of dense stages, as systems of their own: name -> how"""
    fusion: Annotated[dict[Name, Fusion], LeftOut()] = {}
    """systems that are made of the rankings of others: name -> how"""

    def names(self, *families: str) -> list[str]:
        """Return the names of the stages of some families."""
        return [name for name, stage in self.stages.items() if stage.family in families]

    def with_output(self, *outputs: Output) -> list[str]:
        """Return the names of the stages whose models give dense vectors, sparse vectors or scores."""
        return [name for name, stage in self.stages.items() if stage.output in outputs]

    @property
    def retrievers(self) -> list[str]:
        """The stages that encode queries and passages separately."""
        return self.with_output("dense", "sparse")

    @property
    def trained(self) -> list[str]:
        """The stages that learn from examples."""
        return [name for name, stage in self.stages.items() if isinstance(stage, Trained) and stage.train]

    @property
    def trainings(self) -> list[str]:
        """The stages whose weights are optimised step by step: from examples, or from the passages alone."""
        return [name for name, stage in self.stages.items() if isinstance(stage, MaskedLm) or name in self.trained]

    @property
    def rankless(self) -> list[str]:
        """The stages whose models are for other stages to start from, and rank nothing."""
        return [name for name, stage in self.stages.items() if stage.output is None]

    @property
    def imported(self) -> list[str]:
        """The stages whose models are used as they are."""
        return [name for name, stage in self.stages.items() if isinstance(stage, Trained) and not stage.train]

    def model_stage(self, name: str) -> Model:
        """Return a stage that ranks, by its name."""
        stage = self.stages[name]
        if isinstance(stage, Pretrain | MaskedLm):
            raise TypeError(f"{name} is of the family {stage.family}")
        return stage

    def started(self, name: str) -> Started:
        """Return a stage that starts from another model, by its name."""
        stage = self.stages[name]
        if isinstance(stage, Pretrain):
            raise TypeError(f"{name} is of the family pretrain")
        return stage

    def tokenizer_of(self, name: str) -> str:
        return getattr(self.stages[name], "tokenizer", None) or self.tokenizer

    def validates(self, name: str) -> bool:
        """Return whether a stage re-ranks validation queries while it is trained."""
        stage = self.stages[name]
        return self.validation is not None and isinstance(stage, Trained) and stage.train and stage.validation

    def validates_by_search(self, name: str) -> bool:
        """Return whether the candidates of a stage's validation are some system's ranking."""
        return self.validation is not None and self.validates(name) and self.validation.system != QRELS

    def job(self, kind: JobKind, stage: str | None = None) -> JobResources:
        """Return what a job of some kind asks for; a stage's own `resources` are those of its training."""
        return self.training(stage) if stage and kind == "train" else getattr(self.resources, kind)

    def training(self, stage: str) -> TrainingResources:
        """Return what the training of a stage asks for."""
        return self.stages[stage].resources or self.resources.train

    def processes(self, stage: str) -> int:
        """Return the number of training processes of a stage: on each node one per GPU, one without a GPU."""
        resources = self.training(stage)
        return resources.nodes * max(1, resources.gpu)

    def running(self, name: str) -> dict[str, Any]:
        """Return the settings of a stage's training that no result depends on, those of its machine included."""
        accelerate = self.training(name).accelerate
        return self.settings("running", name) | ({"accelerate": accelerate} if accelerate else {})

    def settings(self, step: str, name: str, rename: Callable[[str], str] | None = None) -> dict[str, Any]:
        """Return exactly the settings of a stage that a step's output depends on, as JSON values.

        A key that is marked as `LeftOut` is missing while it has its default.

        Args:
            rename: gives each of the user's files that they name another name.
        """
        stage = self.stages[name]
        keys = keys_of(step, type(stage))
        if rename is not None:
            stage = user_files.renamed(stage, rename, keys)
        values = stage.model_dump(mode="json")
        values["seed"] = self.seed if stage.seed is None else stage.seed
        return {key: values[key] for key in keys if key in values}
