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
    Name,
    Positive,
    Score,
    Section,
    Share,
    Temperature,
    Weight,
)

Candidates = Literal["batch", "batch_negatives", "own"]
Distillation = Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax", "margin_mse_pairs"]


class UserCode:
    """Marks a key whose value may be a function or class in a file of the user's, `path/to/file.py:name`."""


class UserFile:
    """Marks a key whose value may be the path of a file of the user's."""

    def __init__(self, *words: str):
        self.words = words  # values that are no paths


def _or_user_code(value: object, validate: ValidatorFunctionWrapHandler) -> str:
    """Accept one of our losses, or a reference to a function in a user's file."""
    return str(value if user_code.is_reference(value) else validate(value))


class Teacher(Section):
    """A system, or several as one, whose scores a stage learns from."""

    stage: Name | None = None
    """A stage, a name under dataset.scores, or `qrels` for the grades of the judgements; this or `stages`."""
    loss: Annotated[Distillation, WrapValidator(_or_user_code), PlainSerializer(str), UserCode()]
    """or a function of the user's, path/file.py:function"""
    weight: Weight = 1.0
    """of this term"""
    temperature: Temperature = 1.0
    """kl: both sides are divided by it, and the loss multiplied by its square"""
    margin: Weight = 0.0
    """rank: how far apart two passages must score"""
    min_confidence: Weight = 0.0
    """rank: least gap between the teacher's scores of a pair"""
    with_positive: bool = True
    """whether the positive takes part"""
    stages: list[Name] = []
    """several systems as one: the weighted mean of their scores, each brought to 0..1 per query"""
    weights: list[Factor] = []
    """of the systems under `stages`; equal unless given"""
    normalize: bool = False
    """bring a single system's scores to 0..1 per query, as those of several always are"""
    scale: Factor = 1.0
    """the teacher's scores times this are what the loss sees"""
    candidates: Candidates = "own"
    """own: scores of the trainset; batch...: from stored vectors, see the stage's key"""
    own_offset: Score = 0.0
    """added to the scores of a query's own candidates alone, after the scale"""

    @property
    def systems(self) -> list[str]:
        """The systems whose scores it uses."""
        return self.stages or ([self.stage] if self.stage else [])


class NegativeSource(Section):
    """Which passages of a system's pool are candidates: filters first, then skip, then first, last or random."""

    system: Name
    """bm25, a stage, a name under dataset.negatives or dataset.scores, or `qrels`: the judged passages that are not
    positives."""
    min_score: Score | None = None
    """candidates score at least this ..."""
    max_score: Score | None = None
    """... and less than this, by the system's own scores"""
    skip: Count = 0
    """number of the best passages to leave out"""
    first: Positive | None = None
    """number of the best of the others; at most one of first, last and random"""
    last: Positive | None = None
    """number of the worst"""
    random: Positive | None = None
    """number drawn at random, the same in every epoch"""


class MorePositives(Section):
    """Positives besides the judged ones: passages that a score file gives a high score."""

    scores: Name
    """a name under dataset.scores"""
    min_score: Score
    """positives score at least this, after scale and offset"""


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
    """Low-rank adapters, which are trained in place of the weights and merged into them on export."""

    rank: Positive = 16
    """of the two matrices whose product is added to a weight"""
    alpha: Factor = 32
    """the adapters' output counts alpha / rank"""
    dropout: Share = 0.05
    """of what goes into the adapters"""
    targets: list[str] | None = None
    """names of linear layers; unless given, peft's choice for the type of model"""


def in_user_file(value: str, *names: str, kind: str) -> str:
    """Check that a value is one of some names, or means something in a Python file of the user's."""
    if value not in names and not user_code.is_reference(value):
        raise PydanticCustomError("own_code", f"expected {', '.join([*names, f'path/to/file.py:{kind}'])}")
    return value
