"""The recipe's keys under `stages`: the families with their defaults, bounds and meaning. Imports no torch.

Which of these keys the output of a rule depends on stands in `recipe_reads`.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from led_pipeline import user_code
from led_pipeline.recipe.schema import (
    LARGEST,
    Count,
    Depth,
    Factor,
    Fraction,
    LearningRate,
    Name,
    Positive,
    Score,
    Section,
    Seed,
    Share,
    Temperature,
    TrainingResources,
    Weight,
)

LABELS = "labels"  # the judgements' grades as a system: a teacher's scores, and a pool of judged passages
Candidates = Literal["batch", "batch_negatives", "own"]
Distillation = Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax", "margin_mse_pairs"]


def _or_own(value: object, known: ValidatorFunctionWrapHandler) -> str:
    """Take one of our losses, or what looks like a function in a file of the user's."""
    return value if user_code.is_reference(value) else known(value)


class Teacher(Section):
    """A system, or several as one, whose scores a stage learns from."""

    # A stage, a name under dataset.scores, or `labels` for the grades of the judgements; this or `stages`.
    stage: Name | None = None
    loss: Annotated[Distillation, WrapValidator(_or_own), PlainSerializer(str)]  # or an own one, path/file.py:function
    weight: Weight = 1.0  # of this term
    temperature: Temperature = 1.0  # kl: both sides are divided by it, and the loss multiplied by its square
    margin: Weight = 0.0  # rank: how far apart two passages must score
    min_confidence: Weight = 0.0  # rank: least gap between the teacher's scores of a pair
    with_positive: bool = True  # whether the positive takes part
    stages: list[Name] = []  # several systems as one: the weighted mean of their scores, each brought to 0..1 per query
    weights: list[Factor] = []  # of the systems under `stages`; equal unless given
    normalize: bool = False  # bring a single system's scores to 0..1 per query, as those of several always are
    scale: Factor = 1.0  # the teacher's scores times this are what the loss sees
    candidates: Candidates = "own"  # own: scores of the trainset; batch...: from stored vectors, see the stage's key
    own_offset: Score = 0.0  # added to the scores of a query's own candidates alone, after the scale

    @property
    def systems(self) -> list[str]:
        """The stages whose scores it takes."""
        return self.stages or [self.stage]


class NegativeSource(Section):
    """Which passages of a system's pool are candidates: filters first, then skip, then first, last or random."""

    # bm25, a stage, a name under dataset.negatives or dataset.scores, or `labels`: judged ones that are no positives.
    system: Name
    min_score: Score | None = None  # candidates score at least this ...
    max_score: Score | None = None  # ... and less than this, by the system's own scores
    skip: Count = 0  # the best so many are left out
    first: Positive | None = None  # the best so many of the others; one of first, last and random at most
    last: Positive | None = None  # the worst so many
    random: Positive | None = None  # so many, the same in every epoch


class MorePositives(Section):
    """Positives besides the judged ones: passages that a score file gives a high score."""

    scores: Name  # a name under dataset.scores
    min_score: Score  # positives score at least this, after scale and offset


def _kind(source: Any) -> str:
    return "[name]" if isinstance(source, str) else "[source]"


Negatives = Annotated[Annotated[Name, Tag("[name]")] | Annotated[NegativeSource, Tag("[source]")], Discriminator(_kind)]


def _grade(value: object, known: ValidatorFunctionWrapHandler) -> int | str:
    """Say in one sentence what is expected, not in one for each kind of value."""
    try:
        return known(value)
    except ValidationError:
        raise PydanticCustomError("grade", "expected a grade of at least 1, or highest") from None


Grade = Annotated[Positive | Literal["highest"], WrapValidator(_grade)]


class AnyStage(Section):
    seed: Seed | None = None  # the recipe's seed unless given
    resources: TrainingResources | None = None  # of its training; resources.train unless given


class Pretrain(AnyStage):
    """A word-piece vocabulary and a small BERT made from the collection itself, where no hub is at hand."""

    family: Literal["pretrain"]
    vocabulary: int = Field(8_192, ge=300, le=10_000_000)  # word pieces
    hidden: int = Field(128, ge=3, le=LARGEST)  # size of the hidden states, two of which hold a constant
    layers: Positive = 2  # transformer layers
    heads: Positive = 2  # attention heads
    intermediate: Positive = 512  # size between the two products of a layer
    positions: Positive = 128  # the longest text in tokens
    dropout: Share = 0.0  # also that of the stages that start from here
    output_scale: Factor = 0.1  # how far the layers start from the identity


class Lora(Section):
    """Low-rank adapters, which are trained in place of the weights and merged into them on export."""

    rank: Positive = 16  # of the two matrices whose product is added to a weight
    alpha: Factor = 32  # the adapters' output counts alpha / rank
    dropout: Share = 0.05  # of what goes into the adapters
    targets: list[str] | None = None  # names of linear layers; unless given, peft's choice for the type of model


def _own(value: str, *names: str, kind: str) -> str:
    """Check that a value is one of some names, or means something in a Python file of the user's."""
    if value not in names and not user_code.is_reference(value):
        raise PydanticCustomError("own_code", f"expected {', '.join([*names, f'path/to/file.py:{kind}'])}")
    return value


class Trained(AnyStage):
    init: str  # a stage, a local folder or a hub id
    tokenizer: str | None = None  # a stage, a local folder or a hub id; the recipe's unless given
    train: bool = True  # false: take the model of init as it is
    negatives: list[Negatives] = []  # systems whose pools are drawn from, or mappings that say which of their passages
    negatives_per_query: Positive = 7  # drawn anew for every epoch
    negatives_depth: Positive = 200  # the first so many of each system's pool
    deduplicate: bool = False  # draw from a passage that several pools hold as if one held it
    teachers: list[Teacher] = []  # systems whose scores it learns from
    contrastive_weight: Weight = 1.0  # of the cross-entropy over the candidates
    batch_size: Positive = 16  # queries per optimizer step over all processes
    epochs: int = Field(3, ge=1, le=10_000)  # passes over the training queries
    max_steps: Positive | None = None  # end after so many optimizer steps, unless the epochs end before
    learning_rate: LearningRate = 1e-5  # of AdamW, at the end of the warm-up
    weight_decay: float = Field(0.0, ge=0, le=100)  # of AdamW; biases and norms have none
    warmup_fraction: Fraction = 0.01  # share of the steps in which the rate rises from 0; then it falls to 0
    clip_norm: float = Field(1.0, gt=0, le=1e9)  # largest norm of the gradient
    precision: Literal["float32", "bf16", "fp16"] = "bf16"  # of the products; weights stay float32
    gradient_checkpointing: bool = False  # keeps the layers' inputs only: less memory, a second pass
    gradient_cache: Positive | None = None  # texts whose activations are kept at a time: big batches, a second pass
    query_length: int = Field(32, ge=3, le=LARGEST)  # tokens, the special ones included
    passage_length: int = Field(128, ge=5, le=LARGEST)  # tokens, title and special ones included
    # A passage without a title: [CLS] text [SEP], or [CLS] [SEP] text [SEP] with an empty one, as LED's code reads it.
    untitled: Literal["text", "empty_title"] = "text"
    checkpoint_min: Factor = 30  # minutes between checkpoints
    checkpoint_steps: Positive | None = None  # also after every so many steps
    tracking: list[Literal["tensorboard", "wandb"]] = []  # besides train.jsonl; the package must be installed
    validation: bool = True  # false: not measured on the way
    extra_loss: Annotated[str, Field(pattern=user_code.PATTERN)] | None = None  # path/file.py:function, one more term
    extra_loss_weight: Weight = 1.0  # of that term
    lora: Lora | None = None  # train adapters instead of the weights; needs peft
    load_in: Literal["8bit", "4bit"] | None = None  # the frozen weights in few bits; needs lora and bitsandbytes
    query_prefix: str = ""  # put before every query, tokenised apart; query_length includes it
    passage_prefix: str = ""  # put before every passage, and before its title
    only_scored: bool = False  # draw negatives that every score file among the teachers has a score of
    # The lowest grade of a positive, or `highest`: each query's own highest. Passages judged lower are no negatives
    # either, unless `labels` is among them.
    positive_from: Grade = 1
    positives_per_epoch: Literal["all", "one"] = "all"  # an example per positive, or per query with a random one
    more_positives: MorePositives | None = None  # none unless given
    sampling: Literal["random", "window"] = "random"  # anew in every epoch, or a window that moves through a shuffle
    # Of vectors, and of a ranker's scores: precision of the products; unless given, bf16 on a GPU, float32 elsewhere.
    inference_precision: Literal["float32", "bf16"] | None = None
    reinterpret: bool = False  # use an init that sentence-transformers saved in another way than its folder says

    @property
    def negative_systems(self) -> list[str]:
        """The systems of `negatives`, in order; one may come several times."""
        return [source if isinstance(source, str) else source.system for source in self.negatives]


class Dense(Trained):
    family: Literal["dense"]
    # The first token's vector, the mean, the last token's, or file.py:function of the user's.
    pooling: Annotated[str, AfterValidator(lambda v: _own(v, "cls", "mean", "last", kind="function"))] = "cls"
    normalize: bool = False  # vectors of length 1, for cosine similarity
    temperature: Temperature = 1.0  # scores are divided by it in training
    dual_weight: Weight = 0.0  # symmetric KL between two dropout passes over the passages
    contrastive_candidates: Candidates = "batch"  # batch: all its passages; batch_negatives: not others' positives
    # Leave a query's other positives, and copies of a positive's text, out of its negatives in a batch, in every loss.
    mask_positives: bool = True
    head: Positive | None = None  # project the pooled vector to so many dimensions, without a bias
    untied: bool = False  # queries get an encoder of their own
    query_init: str | None = None  # untied: what it starts from (a stage, a folder or a hub id), as init unless given
    # What of a T5 is read: its encoder's pooled states, or the vector of the first decoder token (no pooling then).
    encoder_decoder: Literal["encoder", "first_decoder_token"] = "encoder"
    append_eos: bool = False  # end texts with the eos token, for tokenizers without [CLS] and [SEP]
    # An encoder class of the user's, file.py:Class, in place of pooling, head and normalize.
    encoder: Annotated[str, AfterValidator(lambda v: _own(v, kind="Class"))] | None = None


class Lexicon(Trained):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False  # pool over the first and the last token, too
    new_head: bool = False  # begin a masked-LM head at random where init has none; otherwise that is an error
    flops_passages: Weight = 8e-4  # weight of the FLOPS term of passages
    flops_queries: Weight = 6e-4  # weight of the FLOPS term of queries
    quantisation: int = Field(100, ge=1, le=10_000)  # impact = round(weight x this), on the way into Anserini only
    temperature: Temperature = 1.0  # divides the scores in training
    contrastive_candidates: Candidates = "batch"  # as of a dense stage
    mask_positives: bool = True  # as of a dense stage
    l1_passages: Weight = 0.0  # weight of the mean sum of a passage's weights
    l1_queries: Weight = 0.0  # the same of queries
    anti_zero: Weight = 0.0  # weight of 1/(sum of all weights)^2, both sides; not warmed up
    regulariser_warmup: Count = 0  # optimizer steps in which FLOPS and L1 weights grow quadratically
    flops_threshold: Count | None = None  # FLOPS takes passages of at most so many terms as empty
    flops_grouped: bool = False  # FLOPS of passages by their place among a query's candidates, added up
    activation: Literal["log1p", "log1p_twice"] = "log1p"  # of the highest logit, after relu
    untied: bool = False  # queries get an encoder of their own
    query_init: str | None = None  # untied: what it starts from (a stage, a folder or a hub id), as init unless given
    # Whether a query is encoded, or is the set of its tokens, each with the weight 1 or one of a table.
    query_encoder: Literal["model", "bag_of_words", "idf"] = "model"
    idf: str | None = None  # the table: a JSON file from token to weight, or `collection`; that of init unless given
    idf_trained: bool = False  # whether the table learns
    idf_learning_rate: LearningRate | None = None  # the table's own; learning_rate unless given
    top_k_queries: Positive | None = None  # keep a query's highest so many weights, in training and afterwards
    top_k_passages: Positive | None = None  # the same of passages
    prune_ratio_queries: Share = 0.0  # keep what is above this share of the text's highest weight
    prune_ratio_passages: Share = 0.0  # the same of passages


class Rerank(Section):
    """What a ranker is evaluated on: the first passages of another system's run."""

    system: Name = "bm25"  # bm25 or any stage that ranks
    depth: Depth = 100  # its first so many passages


class Ranker(Trained):
    family: Literal["ranker"]
    rerank: Rerank = Rerank()  # what it ranks in the evaluation
    # Among all candidates of a query the positive; every pair by itself; the positive above each negative by a margin.
    ranking_loss: Literal["softmax", "bce", "margin", "soft_margin"] = "softmax"
    ranking_margin: Weight = 1.0  # margin: by how much
    scoring: Literal["classifier", "true_false"] = "classifier"  # true_false: two words' logits of a T5 (monoT5)
    # true_false: what stands around the texts, outside their lengths.
    template: str = "Query: {query} Document: {passage} Relevant:"
    true_word: str = "true"  # true_false: the word whose logit is the score ...
    false_word: str = "false"  # ... against the logit of this one


Stage = Annotated[Pretrain | Dense | Lexicon | Ranker, Field(discriminator="family")]
FAMILIES: dict[str, type[AnyStage]] = {"pretrain": Pretrain, "dense": Dense, "lexicon": Lexicon, "ranker": Ranker}
