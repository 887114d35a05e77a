"""The recipe's keys under `stages`: the families with their defaults, bounds and meaning. Imports no torch.

`READS` says which of these keys the output of a rule depends on; a key that stands nowhere there re-runs nothing.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from led_pipeline.recipe_schema import Fraction, Name, Positive, Section, TrainingResources


class Teacher(Section):
    """A system whose stored scores of the trainset's passages a stage learns from."""

    stage: Name  # a stage, a name under dataset.scores, or `labels` for the grades of the judgements
    loss: Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax"]
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(1.0, gt=0)
    margin: float = Field(0.0, ge=0)  # rank: how far apart two passages must score
    min_confidence: float = Field(0.0, ge=0)  # rank: least gap between the teacher's scores of a pair
    with_positive: bool = True  # whether the positive takes part


class NegativeSource(Section):
    """Which passages of a system's pool are candidates: filters first, then skip, then first, last or random."""

    system: Name  # bm25, a stage, or a name under dataset.negatives or dataset.scores
    min_score: float | None = None  # candidates score at least this ...
    max_score: float | None = None  # ... and less than this, by the system's own scores
    skip: int = Field(0, ge=0)  # the best so many are left out
    first: Positive | None = None  # the best so many of the others; one of first, last and random at most
    last: Positive | None = None  # the worst so many
    random: Positive | None = None  # so many, the same in every epoch


class MorePositives(Section):
    """Positives besides the judged ones: passages that a score file gives a high score."""

    scores: Name  # a name under dataset.scores
    min_score: float  # positives score at least this, after scale and offset


def _kind(source: Any) -> str:
    return "[name]" if isinstance(source, str) else "[source]"


Negatives = Annotated[Annotated[Name, Tag("[name]")] | Annotated[NegativeSource, Tag("[source]")], Discriminator(_kind)]


class AnyStage(Section):
    seed: int | None = None  # the recipe's seed unless given
    resources: TrainingResources | None = None


class Pretrain(AnyStage):
    """A word-piece vocabulary and a small BERT made from the collection itself, where no hub is at hand."""

    family: Literal["pretrain"]
    vocabulary: int = Field(8_192, ge=300)
    hidden: Positive = 128
    layers: Positive = 2
    heads: Positive = 2
    intermediate: Positive = 512
    positions: Positive = 128
    dropout: Fraction = 0.0  # also that of the stages that start from here
    output_scale: float = Field(0.1, gt=0)  # how far the layers start from the identity


class Trained(AnyStage):
    init: str  # a stage, a local folder or a hub id
    tokenizer: str | None = None  # a stage, a local folder or a hub id; the recipe's unless given
    train: bool = True
    negatives: list[Negatives] = []  # systems by name, or mappings that say which of their passages
    negatives_per_query: Positive = 7
    negatives_depth: Positive = 200  # the first so many of each system's pool
    deduplicate: bool = False
    teachers: list[Teacher] = []
    contrastive_weight: float = Field(1.0, ge=0)
    batch_size: Positive = 16  # queries per optimizer step over all processes
    epochs: Positive = 3
    max_steps: Positive | None = None
    learning_rate: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_fraction: Fraction = 0.01
    clip_norm: float = Field(1.0, gt=0)
    precision: Literal["float32", "bf16", "fp16"] = "bf16"
    gradient_checkpointing: bool = False  # keeps the layers' inputs only: less memory, a second pass
    gradient_cache: Positive | None = None  # texts whose activations are kept at a time: big batches, a second pass
    query_length: Positive = 32  # tokens, the special ones included
    passage_length: Positive = 128
    checkpoint_min: float = Field(30, gt=0)  # minutes between checkpoints
    checkpoint_steps: Positive | None = None  # also after every so many steps
    tracking: list[Literal["tensorboard", "wandb"]] = []  # besides train.jsonl; the package must be installed
    validation: bool = True
    query_prefix: str = ""  # put before every query, tokenised apart; query_length includes it
    passage_prefix: str = ""  # put before every passage, and before its title
    only_scored: bool = False  # draw negatives that every score file among the teachers has a score of
    positive_from: Positive = 1  # the lowest grade of a positive; passages judged lower are no negatives either
    positives_per_epoch: Literal["all", "one"] = "all"  # an example per positive, or per query with a random one
    more_positives: MorePositives | None = None  # none unless given
    sampling: Literal["random", "window"] = "random"  # anew in every epoch, or a window that moves through a shuffle

    @property
    def negative_systems(self) -> list[str]:
        """The systems of `negatives`, in order; one may come several times."""
        return [source if isinstance(source, str) else source.system for source in self.negatives]


class Dense(Trained):
    family: Literal["dense"]
    pooling: Literal["cls", "mean"] = "cls"
    normalize: bool = False
    temperature: float = Field(1.0, gt=0)
    dual_weight: float = Field(0.0, ge=0)  # symmetric KL between two dropout passes over the passages


class Lexicon(Trained):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False
    flops_passages: float = Field(8e-4, ge=0)
    flops_queries: float = Field(6e-4, ge=0)
    quantisation: Positive = 100  # impact = round(weight x this), on the way into Anserini only
    temperature: ClassVar[float] = 1.0


class Rerank(Section):
    """What a ranker is evaluated on: the first passages of another system's run."""

    system: Name = "bm25"
    depth: Positive = 100


class Ranker(Trained):
    family: Literal["ranker"]
    rerank: Rerank = Rerank()


Stage = Annotated[Pretrain | Dense | Lexicon | Ranker, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyStage]] = {"pretrain": Pretrain, "dense": Dense, "lexicon": Lexicon, "ranker": Ranker}

# What the output of a rule depends on. Everything else may change without re-running it.
_LENGTHS = ("query_length", "passage_length", "query_prefix", "passage_prefix")
READS: dict[str, tuple[str, ...]] = {
    "trainset": (
        "negatives", "negatives_per_query", "negatives_depth", "deduplicate", "epochs", "max_steps", "batch_size",
        "seed", "only_scored", "positive_from", "positives_per_epoch", "more_positives", "sampling",
    ),
    "train": (
        "family", "pooling", "normalize", "temperature", "dual_weight", "keep_special_tokens", "flops_passages",
        "flops_queries", "teachers", "contrastive_weight", "batch_size", "epochs", "max_steps", "learning_rate",
        "weight_decay", "warmup_fraction", "clip_norm", "precision", "gradient_checkpointing", "gradient_cache",
        "seed",
        *_LENGTHS,
    ),
    "running": ("checkpoint_min", "checkpoint_steps", "tracking"),  # a training's own; no result depends on them
    "import": ("family", "pooling", "normalize", "temperature", "keep_special_tokens", *_LENGTHS),
    "pretrain": (
        "vocabulary", "hidden", "layers", "heads", "intermediate", "positions", "dropout", "output_scale", "seed",
    ),
}  # fmt: skip
