"""The recipe's keys under `stages`: the families, composed of the groups of `settings`. Imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from led_pipeline.recipe.schema import Depth, Name, Section, TrainingResources
from led_pipeline.recipe.settings import (
    DenseObjective,
    DenseRepresentation,
    Inference,
    LexiconObjective,
    LexiconOptimisation,
    LexiconRepresentation,
    LexiconStart,
    Optimisation,
    Pretraining,
    RankerObjective,
    RankerRepresentation,
    Running,
    Sampling,
    Schedule,
    Seeded,
    Start,
)


class AnyStage(Seeded):
    resources: TrainingResources | None = None
    """of its training; resources.train unless given"""


class Pretrain(Pretraining, AnyStage):
    family: Literal["pretrain"]


class Trained(Running, Inference, Sampling, Schedule, AnyStage):
    """What stages with a model have in common; each family adds its own groups."""

    init: str
    """a stage, a local folder or a hub id"""
    tokenizer: str | None = None
    """a stage, a local folder or a hub id; the recipe's unless given"""
    train: bool = True
    """false: take the model of init as it is"""
    validation: bool = True
    """false: not measured on the way"""


class Retriever(Trained):
    query_init: str | None = None
    """untied: what it starts from (a stage, a folder or a hub id), as init unless given"""


class Dense(DenseRepresentation, Start, DenseObjective, Optimisation, Retriever):
    pass


class Lexicon(LexiconRepresentation, LexiconStart, LexiconObjective, LexiconOptimisation, Retriever):
    quantisation: int = Field(100, ge=1, le=10_000)
    """impact = round(weight x this), on the way into Anserini only"""


class Rerank(Section):
    """What a ranker is evaluated on: the first passages of another system's run."""

    system: Name = "bm25"
    """bm25 or any stage that ranks"""
    depth: Depth = 100
    """number of its passages, from the first one"""


class Ranker(RankerRepresentation, Start, RankerObjective, Optimisation, Trained):
    rerank: Rerank = Rerank()
    """what it ranks in the evaluation"""


Model = Dense | Lexicon | Ranker  # the families with an `init`, trained or used as they are
Stage = Annotated[Pretrain | Dense | Lexicon | Ranker, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyStage]] = {"pretrain": Pretrain, "dense": Dense, "lexicon": Lexicon, "ranker": Ranker}
