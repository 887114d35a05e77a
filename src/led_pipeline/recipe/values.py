"""Values of a stage's settings that have keys or a grammar of their own. Imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    PlainSerializer,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from led_pipeline import user_code
from led_pipeline.recipe.schema import (
    Count,
    Factor,
    LeftOut,
    Name,
    Positive,
    Score,
    Section,
    Share,
    Temperature,
    Weight,
)

Candidates = Literal["batch", "batch_negatives", "own"]
Distillation = Literal[
    "rank",
    "kl",
    "ranknet",
    "listnet",
    "margin_mse",
    "margin_mse_softmax",
    "margin_mse_pairs",
]


class UserCode:
    """Marks a key whose value may be a function or class in a file of the user's, `path/to/file.py:name`."""


class UserFile:
    """Marks a key whose value may be the path of a file of the user's."""

    def __init__(self, *words: str):
        self.words = words  # values that are no paths


def _or_user_code(value: object, validate: ValidatorFunctionWrapHandler) -> str:
    """Accept one of our losses, or a reference to a function in a user's file."""
    return str(value if user_code.is_reference(value) else validate(value))


class Scorer(Section):
    """A system, or several as one, whose scores a stage uses: a teacher, or the judge of its negatives."""

    stage: Name | None = None
    """A stage, a fusion, a name under dataset.scores or, for a teacher, `qrels` for the grades of the judgements; this
    or `stages`."""
    stages: list[Name] = []
    """Several systems instead of `stage`. For a teacher: the weighted mean of their scores, each scaled to 0..1 per
    query; for a judge: the weighted sum of their scores as they are."""
    weights: list[Factor] = []
    """weights of the systems under `stages`; by default equal for a teacher and 1 for a judge"""

    @property
    def systems(self) -> list[str]:
        """The systems whose scores it uses."""
        return self.stages or ([self.stage] if self.stage else [])


class Teacher(Scorer):
    """A system, or several as one, whose scores a stage learns from."""

    loss: Annotated[Distillation, WrapValidator(_or_user_code), PlainSerializer(str), UserCode()]
    """or a function of the user's, path/file.py:function"""
    weight: Weight = 1.0
    """of this term"""
    weight_end: Annotated[Weight | None, LeftOut()] = None
    """of this term at the end of the training (`ramp_fraction`); by default it does not change"""
    temperature: Temperature = 1.0
    """kl: both sides are divided by it, and the loss multiplied by its square"""
    margin: Weight = 0.0
    """rank: how far apart two passages must score"""
    min_confidence: Weight = 0.0
    """rank: least gap between the teacher's scores of a pair"""
    with_positive: bool = True
    """whether the loss includes the positive"""
    normalize: bool = False
    """scale the scores of a single system to 0..1 per query; those of several always are"""
    scale: Factor = 1.0
    """multiplies the teacher's scores before the loss"""
    candidates: Candidates = "own"
    """own: scores in the trainset; batch, batch_negatives: from stored vectors, as in contrastive_candidates"""
    own_offset: Score = 0.0
    """added to the scores of a query's own candidates, after the scale"""

    @property
    def weight_in_words(self) -> str:
        """Its weight, with the one at the end of the training if it moves."""
        return f"{self.weight:g}" + ("" if self.weight_end is None else f" → {self.weight_end:g}")


class NegativeSource(Section):
    """A selection from a system's pool: filters by score, then skip, then first, last or random."""

    system: Name
    """bm25, a stage, a fusion, a name under dataset.negatives, dataset.scores or dataset.runs, or `qrels`: the judged
    passages that are not positives."""
    min_score: Score | None = None
    """least score of the system"""
    max_score: Score | None = None
    """scores are below this"""
    skip: Count = 0
    """leave out this number of the best passages"""
    first: Positive | None = None
    """take this number of the best remaining ones; at most one of first, last and random"""
    last: Positive | None = None
    """take this number of the worst"""
    random: Positive | None = None
    """take this number at random, the same ones in every epoch"""


class Judge(Scorer):
    """A system, or several as one, that decides which candidates are too close to a positive to be negatives."""

    margin: Weight = 0.05
    """how far below the query's lowest positive a candidate must score"""
    kind: Literal["relative", "absolute"] = "relative"
    """relative: the margin is a share of the positive's score; absolute: a difference of scores"""


class MorePositives(Section):
    """Further positives: passages with a high score in a score file."""

    scores: Name
    """a name under dataset.scores"""
    min_score: Score
    """least score of a positive, after scale and offset"""


def _kind(source: Any) -> str:
    return "[name]" if isinstance(source, str) else "[source]"


Negatives = Annotated[Annotated[Name, Tag("[name]")] | Annotated[NegativeSource, Tag("[source]")], Discriminator(_kind)]


def _grade(value: object, validate: ValidatorFunctionWrapHandler) -> Any:
    """Raise one sentence with both kinds of values, instead of one per kind."""
    try:
        return validate(value)
    except ValidationError:
        raise PydanticCustomError("grade", "expected a grade of at least 1, or highest") from None


Grade = Annotated[Positive | Literal["highest"], WrapValidator(_grade)]


class Lora(Section):
    """Low-rank adapters, trained in place of the weights and merged into them on export."""

    rank: Positive = 16
    """rank of the two matrices whose product is added to a weight"""
    alpha: Factor = 32
    """alpha / rank multiplies the adapters' output"""
    dropout: Share = 0.05
    """dropout of the adapters' inputs"""
    targets: list[str] | None = None
    """names of linear layers; peft's choice for the type of model by default"""


def in_user_file(value: str, *names: str, kind: str) -> str:
    """Check that a value is one of some names, or names something in a Python file of the user's."""
    if value not in names and not user_code.is_reference(value):
        raise PydanticCustomError("own_code", f"expected {', '.join([*names, f'path/to/file.py:{kind}'])}")
    return value
