"""Settings of stages, in groups by their reader; each family of stages (`stages`) is composed of groups.

A key belongs to one group. A step depends on a list of groups (`steps`), and a saved model keeps one
(`Representation`). The YAML is flat: a stage has the keys of all its groups. Imports no torch.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from led_pipeline import user_code
from led_pipeline.recipe.schema import (
    LARGEST,
    Count,
    Factor,
    Fraction,
    LearningRate,
    LeftOut,
    Positive,
    Section,
    Seed,
    Share,
    Weight,
)
from led_pipeline.recipe.values import (
    Candidates,
    Grade,
    Judge,
    Lora,
    MorePositives,
    Negatives,
    Teacher,
    UserCode,
    UserFile,
)


def _ascending(sizes: list[int]) -> list[int]:
    if any(first >= second for first, second in pairwise(sizes)):
        raise PydanticCustomError("ascending", "expected sizes in ascending order, each once")
    return sizes


class Seeded(Section):
    seed: Seed | None = None
    """the recipe's seed by default"""


class Sampling(Section):
    """Which passages an example has: its positives, and where its negatives are drawn from."""

    negatives: list[Negatives] = []
    """systems from whose pools negatives are drawn, or mappings that select passages of a pool"""
    negatives_per_query: Positive = 7
    """negatives per example, drawn again for every epoch"""
    negatives_depth: Positive = 200
    """passages of each pool that are drawn from, best first"""
    negatives_depth_end: Annotated[Positive | None, LeftOut()] = None
    """the same number in the last epoch; it moves there in equal steps from epoch to epoch, so that negatives get
    harder where it is smaller"""
    deduplicate: bool = False
    """count a passage once, even if several pools contain it"""
    only_scored: bool = False
    """draw only negatives for which every score file among the teachers has a score"""
    positive_from: Grade = 1
    """The lowest grade of a positive, or `highest`: the highest grade of each query. Passages with a lower grade are no
    negatives either, unless `negatives` names `qrels`."""
    positives_per_epoch: Literal["all", "one"] = "all"
    """one example per positive, or one per query with a random positive"""
    more_positives: MorePositives | None = None
    """further positives from a score file; none by default"""
    judge: Annotated[Judge | None, LeftOut()] = None
    """drop the candidates that a system scores nearly as high as a positive; none by default"""
    sampling: Literal["random", "window"] = "random"
    """draw negatives at random in every epoch, or move a window through one shuffled list"""

    @property
    def deepest(self) -> int:
        """The most passages of a pool that an epoch draws from."""
        return max(self.negatives_depth, self.negatives_depth_end or 0)

    @property
    def negative_systems(self) -> list[str]:
        """The systems of `negatives`, in order; a system may occur several times."""
        return [source if isinstance(source, str) else source.system for source in self.negatives]


class Schedule(Seeded):
    """The number of examples and of steps."""

    batch_size: Positive = 16
    """Queries (masked_lm: passages) of a batch over all processes; an optimizer step takes one batch, or
    `gradient_accumulation` of them."""
    epochs: int = Field(3, ge=1, le=10_000)
    """passes over the training queries (masked_lm: over the passages)"""
    max_steps: Positive | None = None
    """largest number of optimizer steps; training ends with the epochs if they are shorter"""
    gradient_accumulation: Annotated[Positive, LeftOut()] = 1
    """Batches per optimizer step, whose gradients are averaged. A query has the negatives of its own batch alone;
    `gradient_cache` computes one large batch in parts instead."""
    split_temperature: Annotated[Annotated[float, Field(ge=1, le=1e6)] | None, LeftOut()] = None
    """For a train split that is a `union_of` others: a batch has queries of one of them, and an epoch batches in
    proportion to (examples of the split)^(1 / this). 1: every example once; by default batches mix all splits."""


class Objective(Section):
    """The terms of the loss."""

    teachers: list[Teacher] = []
    """systems whose scores the stage learns from"""
    contrastive_weight: Weight = 1.0
    """weight of the cross-entropy over the candidates"""
    contrastive_weight_end: Annotated[Weight | None, LeftOut()] = None
    """weight of the cross-entropy at the end of the training; by default it does not change"""
    label_smoothing: Annotated[Share, LeftOut()] = 0.0
    """share of the label that is spread evenly over a query's candidates in the contrastive loss; for rankers with
    ranking_loss softmax or bce"""
    ramp_fraction: Annotated[float, Field(gt=0, le=1), LeftOut()] = 1.0
    """share of the steps over which weights move in a line to their end, which they have after that"""
    extra_loss: Annotated[Annotated[str, Field(pattern=user_code.PATTERN)] | None, UserCode()] = None
    """a further term: path/file.py:function"""
    extra_loss_weight: Weight = 1.0
    """weight of that term"""


class RetrieverObjective(Objective):
    contrastive_candidates: Candidates = "batch"
    """batch: all passages of the batch; batch_negatives: without other queries' positives; own: the query's alone"""
    mask_positives: bool = True
    """Do not use a query's other positives, or copies of a positive's text, as its negatives in a batch; for every
    loss."""


class DenseObjective(RetrieverObjective):
    dual_weight: Weight = 0.0
    """weight of the symmetric KL between two dropout passes over the passages"""
    matryoshka: Annotated[list[Positive], AfterValidator(_ascending), LeftOut()] = []
    """Sizes, ascending: the loss is the mean of the loss of whole vectors and those of their first dimensions, up to
    each size, so that shortened vectors can be used (`variants`)."""


class LexiconObjective(RetrieverObjective):
    flops_passages: Weight = 8e-4
    """weight of the FLOPS term of passages"""
    flops_queries: Weight = 6e-4
    """weight of the FLOPS term of queries"""
    l1_passages: Weight = 0.0
    """weight of the mean L1 norm of passages"""
    l1_queries: Weight = 0.0
    """weight of the mean L1 norm of queries"""
    anti_zero: Weight = 0.0
    """weight of 1 / (sum of all weights)^2 of both sides; without warm-up"""
    regulariser_warmup: Count = 0
    """optimizer steps over which the weights of FLOPS and L1 grow quadratically"""
    flops_threshold: Count | None = None
    """FLOPS counts passages of at most this number of terms as empty"""
    flops_grouped: bool = False
    """compute the FLOPS of passages for each place among a query's candidates, and add them up"""


class RankerObjective(Objective):
    ranking_loss: Literal["softmax", "bce", "margin", "soft_margin"] = "softmax"
    """softmax: the positive among a query's candidates; bce: each pair alone; margin, soft_margin: the positive above
    each negative."""
    ranking_margin: Weight = 1.0
    """margin: the least gap between positive and negative"""


class Masking(Section):
    """Continued pre-training on the passages: what is hidden, and what is predicted."""

    family: Literal["masked_lm"]
    passage_length: int = Field(128, ge=5, le=LARGEST)
    """tokens of a passage, title and special ones included"""
    masked: float = Field(0.3, gt=0, lt=1)
    """Share of a passage's tokens that are predicted: 80 % of them are replaced by [MASK], 10 % by a random token, 10 %
    stay."""
    bow_weight: Weight = 1.0
    """weight of predicting a passage's bag of words from its [CLS] vector, at the start; 0: masked tokens alone"""
    bow_weight_end: Fraction = 0.1
    """share of bow_weight that is left at the end; the weight falls along half a cosine"""
    stop_share: Fraction = 0.1
    """tokens in more than this share of the passages are stop words, which a bag of words leaves out; 1: none"""
    stop_words: Annotated[str | None, UserFile()] = None
    """a text file of further stop words, one a line"""


class Optimisation(Section):
    """How the weights are updated."""

    learning_rate: LearningRate = 1e-5
    """AdamW's, at the end of the warm-up"""
    schedule: Annotated[Literal["linear", "cosine", "constant"], LeftOut()] = "linear"
    """how the learning rate falls after the warm-up: in a line, like half a wave of the cosine, or not at all"""
    learning_rate_end: Annotated[Fraction, LeftOut()] = 0.0
    """what it falls to at the end of the training, as a share of `learning_rate`"""
    weight_decay: float = Field(0.0, ge=0, le=100)
    """AdamW's; biases and normalisation weights do not decay"""
    warmup_fraction: Fraction = 0.01
    """share of the steps in which the learning rate rises from 0"""
    warmup_steps: Annotated[Count | None, LeftOut()] = None
    """optimizer steps in which the learning rate rises from 0, instead of `warmup_fraction`"""
    adam_beta1: Annotated[Share, LeftOut()] = 0.9
    """AdamW's decay of the mean of the gradients"""
    adam_beta2: Annotated[Share, LeftOut()] = 0.999
    """AdamW's decay of the mean of their squares"""
    adam_epsilon: Annotated[float, Field(gt=0, le=1), LeftOut()] = 1e-8
    """AdamW's; added to the root of that mean"""
    clip_norm: float = Field(1.0, gt=0, le=1e9)
    """largest norm of the gradient"""
    precision: Literal["float32", "bf16", "fp16"] = "bf16"
    """type of the matrix products; weights stay float32"""
    gradient_checkpointing: bool = False
    """store only the inputs of layers: less memory, a second forward pass"""
    gradient_cache: Positive | None = None
    """texts whose activations are in memory at a time: large batches, a second forward pass"""
    lora: Lora | None = None
    """train adapters instead of the weights; needs peft"""
    compile: Annotated[bool, LeftOut()] = False
    """compile the layers with torch.compile, which saves launches and memory traffic on a GPU; rounding and dropout's
    random numbers change"""
    gradient_exchange: Annotated[Literal["float32", "bf16"], LeftOut()] = "float32"
    """Type in which several processes add up their gradients; bf16 halves what they exchange, which helps GPUs without
    NVLink, and rounds it."""
    load_in: Literal["8bit", "4bit"] | None = None
    """quantise the frozen weights; needs lora and bitsandbytes"""


class LexiconOptimisation(Optimisation):
    new_head: bool = False
    """begin with a random masked-LM head if init has none, instead of an error"""
    idf_trained: bool = False
    """whether the table of query weights is trained"""
    idf_learning_rate: LearningRate | None = None
    """learning rate of the table; learning_rate by default"""


class Running(Section):
    """How a training is logged and saved; no result depends on it."""

    checkpoint_min: Factor = 30
    """minutes between checkpoints"""
    checkpoint_steps: Positive | None = None
    """optimizer steps between checkpoints, in addition to the minutes"""
    save_model_steps: Annotated[Positive | None, LeftOut()] = None
    """optimizer steps between models that are saved on the way, in results/DATASET/checkpoints/STAGE/models/step.N; a
    stage may start from such a folder"""
    tracking: list[Literal["tensorboard", "wandb"]] = []
    """trackers in addition to train.jsonl; their packages must be installed"""


class Inference(Section):
    inference_precision: Literal["float32", "bf16", "fp16", "int8"] | None = None
    """Type of the matrix products when encoding and scoring; by default float32 on a processor, and on a GPU fp16 (TF32
    for models other than BERT and its like). int8 is for processors."""


class Pretraining(Seeded):
    """A word-piece vocabulary and a small BERT, built from the collection without a model hub."""

    vocabulary: int = Field(8_192, ge=300, le=10_000_000)
    """size of the vocabulary of word pieces"""
    hidden: int = Field(128, ge=3, le=LARGEST)
    """size of the hidden states; two dimensions are constant"""
    layers: Positive = 2
    """number of transformer layers"""
    heads: Positive = 2
    """number of attention heads"""
    intermediate: Positive = 512
    """size of the feed-forward layers"""
    positions: Positive = 128
    """tokens of the longest text"""
    dropout: Share = 0.0
    """dropout, also of the stages that start from this model"""
    output_scale: Factor = 0.1
    """scale of the layers' random initial outputs"""
