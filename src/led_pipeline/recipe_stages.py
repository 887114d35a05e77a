"""The recipe's keys under `stages`: the families with their defaults, bounds and meaning. Imports no torch.

`READS` says which of these keys the output of a rule depends on; a key that stands nowhere there re-runs nothing.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from led_pipeline.recipe_schema import Fraction, Name, Positive, Section, TrainingResources


class Teacher(Section):
    """A system whose stored scores of the trainset's passages a stage learns from."""

    stage: Name  # any stage that ranks
    loss: Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax"]  # the objective
    weight: float = Field(1.0, ge=0)  # of this term
    temperature: float = Field(1.0, gt=0)  # kl: both sides are divided by it, and the loss multiplied by its square
    margin: float = Field(0.0, ge=0)  # rank: how far apart two passages must score
    min_confidence: float = Field(0.0, ge=0)  # rank: least gap between the teacher's scores of a pair
    with_positive: bool = True  # whether the positive takes part


class AnyStage(Section):
    seed: int | None = None  # the recipe's seed unless given
    resources: TrainingResources | None = None  # of its training; resources.train unless given


class Pretrain(AnyStage):
    """A word-piece vocabulary and a small BERT made from the collection itself, where no hub is at hand."""

    family: Literal["pretrain"]
    vocabulary: int = Field(8_192, ge=300)  # word pieces
    hidden: Positive = 128  # size of the hidden states
    layers: Positive = 2  # transformer layers
    heads: Positive = 2  # attention heads
    intermediate: Positive = 512  # size between the two products of a layer
    positions: Positive = 128  # the longest text in tokens
    dropout: Fraction = 0.0  # also that of the stages that start from here
    output_scale: float = Field(0.1, gt=0)  # how far the layers start from the identity


class Trained(AnyStage):
    init: str  # a stage, a local folder or a hub id
    tokenizer: str | None = None  # a stage, a local folder or a hub id; the recipe's unless given
    train: bool = True  # false: take the model of init as it is
    negatives: list[Name] = []  # systems whose pools are drawn from: bm25, stages, dataset.negatives
    negatives_per_query: Positive = 7  # drawn anew for every epoch
    negatives_depth: Positive = 200  # the first so many of each system's pool
    deduplicate: bool = False  # draw from a passage that several pools hold as if one held it
    teachers: list[Teacher] = []  # systems whose scores it learns from
    contrastive_weight: float = Field(1.0, ge=0)  # of the cross-entropy over the candidates
    batch_size: Positive = 16  # queries per optimizer step over all processes
    epochs: Positive = 3  # passes over the training queries
    max_steps: Positive | None = None  # end after so many optimizer steps, unless the epochs end before
    learning_rate: float = Field(1e-5, gt=0)  # of AdamW, at the end of the warm-up
    weight_decay: float = Field(0.0, ge=0)  # of AdamW; biases and norms have none
    warmup_fraction: Fraction = 0.01  # share of the steps in which the rate rises from 0; then it falls to 0
    clip_norm: float = Field(1.0, gt=0)  # largest norm of the gradient
    precision: Literal["float32", "bf16", "fp16"] = "bf16"  # of the products; weights stay float32
    gradient_checkpointing: bool = False  # keeps the layers' inputs only: less memory, a second pass
    gradient_cache: Positive | None = None  # texts whose activations are kept at a time: big batches, a second pass
    query_length: Positive = 32  # tokens, the special ones included
    passage_length: Positive = 128  # tokens, title and special ones included
    checkpoint_min: float = Field(30, gt=0)  # minutes between checkpoints
    checkpoint_steps: Positive | None = None  # also after every so many steps
    tracking: list[Literal["tensorboard", "wandb"]] = []  # besides train.jsonl; the package must be installed
    validation: bool = True  # false: not measured on the way


class Dense(Trained):
    family: Literal["dense"]
    pooling: Literal["cls", "mean"] = "cls"  # which hidden states become the vector
    normalize: bool = False  # vectors of length 1, for cosine similarity
    temperature: float = Field(1.0, gt=0)  # scores are divided by it in training
    dual_weight: float = Field(0.0, ge=0)  # symmetric KL between two dropout passes over the passages


class Lexicon(Trained):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False  # pool over the first and the last token, too
    flops_passages: float = Field(8e-4, ge=0)  # weight of the FLOPS term of passages
    flops_queries: float = Field(6e-4, ge=0)  # weight of the FLOPS term of queries
    quantisation: Positive = 100  # impact = round(weight x this), on the way into Anserini only
    temperature: ClassVar[float] = 1.0


class Rerank(Section):
    """What a ranker is evaluated on: the first passages of another system's run."""

    system: Name = "bm25"  # bm25 or any stage that ranks
    depth: Positive = 100  # its first so many passages


class Ranker(Trained):
    family: Literal["ranker"]
    rerank: Rerank = Rerank()  # what it ranks in the evaluation


Stage = Annotated[Pretrain | Dense | Lexicon | Ranker, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyStage]] = {"pretrain": Pretrain, "dense": Dense, "lexicon": Lexicon, "ranker": Ranker}

# What the output of a rule depends on. Everything else may change without re-running it.
_LENGTHS = ("query_length", "passage_length")
READS: dict[str, tuple[str, ...]] = {
    "trainset": (
        "negatives", "negatives_per_query", "negatives_depth", "deduplicate", "epochs", "max_steps", "batch_size",
        "seed",
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
