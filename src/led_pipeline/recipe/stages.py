"""The recipe's keys under `stages`: the families, composed of the groups of `settings`. Imports no torch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from led_pipeline.recipe.representation import (
    DenseRepresentation,
    LexiconRepresentation,
    LexiconStart,
    RankerRepresentation,
    Start,
)
from led_pipeline.recipe.schema import Depth, Name, Section, TrainingResources
from led_pipeline.recipe.settings import (
    DenseObjective,
    Inference,
    LexiconObjective,
    LexiconOptimisation,
    Masking,
    Optimisation,
    Pretraining,
    RankerObjective,
    Running,
    Sampling,
    Schedule,
    Seeded,
)

Output = Literal["dense", "sparse", "scores"]  # vectors, sparse vectors of terms, or scores of query-passage pairs


class AnyStage(Seeded):
    output: ClassVar[Output | None] = None  # None: the model is for other stages to start from, and ranks nothing

    resources: TrainingResources | None = None
    """resources of its training; resources.train by default"""


class Pretrain(Pretraining, AnyStage):
    family: Literal["pretrain"]


class MaskedLm(Masking, Optimisation, Running, Schedule, AnyStage):
    """A masked language model that goes on learning from the passages, for other stages to start from."""

    init: str
    """the masked language model to start from: a stage, a local folder or a hub id"""
    tokenizer: str | None = None
    """a stage, a local folder or a hub id; the recipe's by default"""


class Trained(Running, Inference, Sampling, Schedule, AnyStage):
    """The keys of all stages with a model; each family adds its own groups."""

    init: str
    """the model to start from: a stage, a local folder or a hub id"""
    tokenizer: str | None = None
    """a stage, a local folder or a hub id; the recipe's by default"""
    train: bool = True
    """false: use the model of init as it is"""
    validation: bool = True
    """false: do not validate during training"""


class Retriever(Trained):
    query_init: str | None = None
    """untied: the model to start from (a stage, a folder or a hub id); init by default"""


class Dense(DenseRepresentation, Start, DenseObjective, Optimisation, Retriever):
    output = "dense"


class Lexicon(LexiconRepresentation, LexiconStart, LexiconObjective, LexiconOptimisation, Retriever):
    output = "sparse"

    quantisation: int = Field(100, ge=1, le=10_000)
    """impact in the index = round(weight x this)"""


class Rerank(Section):
    """The passages that a ranker re-ranks in the evaluation: the first ones of another system."""

    system: Name = "bm25"
    """bm25, any stage that ranks, a fusion, or a run from elsewhere"""
    depth: Depth = 100
    """number of its passages, best first"""


class Ranker(RankerRepresentation, Start, RankerObjective, Optimisation, Trained):
    output = "scores"

    rerank: Rerank = Rerank()
    """the passages that it re-ranks in the evaluation"""


Model = Dense | Lexicon | Ranker  # the families that rank, trained or used as they are
Started = MaskedLm | Model  # the families with an `init`
Stage = Annotated[Pretrain | Started, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyStage]] = {
    "pretrain": Pretrain,
    "masked_lm": MaskedLm,
    "dense": Dense,
    "lexicon": Lexicon,
    "ranker": Ranker,
}
