"""The settings of a stage, in groups by who reads them; a family of stages (`stages`) is composed of such groups.

A key belongs to one group, so what a step depends on is a list of groups (`steps`), and so is what a model folder keeps
(`Representation`). The YAML is flat: a stage's keys are those of all its groups. Imports no torch.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from led_pipeline import user_code
from led_pipeline.recipe.schema import (
    LARGEST,
    Count,
    Factor,
    Fraction,
    LearningRate,
    Positive,
    Section,
    Seed,
    Share,
    Temperature,
    Weight,
)
from led_pipeline.recipe.values import (
    Candidates,
    Grade,
    Lora,
    MorePositives,
    Negatives,
    Teacher,
    UserCode,
    UserFile,
    in_user_file,
)

Side = Literal["query", "passage"]


class Seeded(Section):
    seed: Seed | None = None
    """the recipe's seed unless given"""


class Sampling(Section):
    """Which passages an example has: its positives, and where its negatives are drawn from."""

    negatives: list[Negatives] = []
    """systems whose pools are drawn from, or mappings that say which of their passages"""
    negatives_per_query: Positive = 7
    """drawn again for every epoch"""
    negatives_depth: Positive = 200
    """number of passages, from the start of each system's pool"""
    deduplicate: bool = False
    """draw from a passage that several pools hold as if one held it"""
    only_scored: bool = False
    """draw negatives that every score file among the teachers has a score of"""
    positive_from: Grade = 1
    """The lowest grade of a positive, or `highest`: each query's own highest. Passages judged lower are no negatives
    either, unless `qrels` is among them."""
    positives_per_epoch: Literal["all", "one"] = "all"
    """an example per positive, or per query with a random one"""
    more_positives: MorePositives | None = None
    """none unless given"""
    sampling: Literal["random", "window"] = "random"
    """drawn again in every epoch, or a window that moves through a shuffle"""

    @property
    def negative_systems(self) -> list[str]:
        """The systems of `negatives`, in order; one may come several times."""
        return [source if isinstance(source, str) else source.system for source in self.negatives]


class Schedule(Seeded):
    """How many examples there are, and in which order."""

    batch_size: Positive = 16
    """queries per optimizer step over all processes"""
    epochs: int = Field(3, ge=1, le=10_000)
    """passes over the training queries"""
    max_steps: Positive | None = None
    """largest number of optimizer steps; the epochs may end before"""


class Objective(Section):
    """The terms of the loss."""

    teachers: list[Teacher] = []
    """systems whose scores it learns from"""
    contrastive_weight: Weight = 1.0
    """of the cross-entropy over the candidates"""
    extra_loss: Annotated[Annotated[str, Field(pattern=user_code.PATTERN)] | None, UserCode()] = None
    """path/file.py:function, one more term"""
    extra_loss_weight: Weight = 1.0
    """of that term"""


class RetrieverObjective(Objective):
    contrastive_candidates: Candidates = "batch"
    """batch: all its passages; batch_negatives: not others' positives"""
    mask_positives: bool = True
    """Leave a query's other positives, and copies of a positive's text, out of its negatives in a batch, in every
    loss."""


class DenseObjective(RetrieverObjective):
    dual_weight: Weight = 0.0
    """symmetric KL between two dropout passes over the passages"""


class LexiconObjective(RetrieverObjective):
    flops_passages: Weight = 8e-4
    """weight of the FLOPS term of passages"""
    flops_queries: Weight = 6e-4
    """weight of the FLOPS term of queries"""
    l1_passages: Weight = 0.0
    """weight of the mean sum of a passage's weights"""
    l1_queries: Weight = 0.0
    """the same of queries"""
    anti_zero: Weight = 0.0
    """weight of 1/(sum of all weights)^2, both sides; not warmed up"""
    regulariser_warmup: Count = 0
    """optimizer steps in which FLOPS and L1 weights grow quadratically"""
    flops_threshold: Count | None = None
    """FLOPS counts passages of at most this number of terms as empty"""
    flops_grouped: bool = False
    """FLOPS of passages by their place among a query's candidates, added up"""


class RankerObjective(Objective):
    ranking_loss: Literal["softmax", "bce", "margin", "soft_margin"] = "softmax"
    """Among all candidates of a query the positive; every pair by itself; the positive above each negative by a
    margin."""
    ranking_margin: Weight = 1.0
    """margin: by how much"""


class Optimisation(Section):
    """How the weights follow from the loss."""

    learning_rate: LearningRate = 1e-5
    """of AdamW, at the end of the warm-up"""
    weight_decay: float = Field(0.0, ge=0, le=100)
    """of AdamW; biases and norms have none"""
    warmup_fraction: Fraction = 0.01
    """share of the steps in which the rate rises from 0; then it falls to 0"""
    clip_norm: float = Field(1.0, gt=0, le=1e9)
    """largest norm of the gradient"""
    precision: Literal["float32", "bf16", "fp16"] = "bf16"
    """of the products; weights stay float32"""
    gradient_checkpointing: bool = False
    """keeps the layers' inputs only: less memory, a second pass"""
    gradient_cache: Positive | None = None
    """texts whose activations are kept at a time: big batches, a second pass"""
    lora: Lora | None = None
    """train adapters instead of the weights; needs peft"""
    load_in: Literal["8bit", "4bit"] | None = None
    """the frozen weights in few bits; needs lora and bitsandbytes"""


class LexiconOptimisation(Optimisation):
    new_head: bool = False
    """begin a masked-LM head at random where init has none; otherwise that is an error"""
    idf_trained: bool = False
    """whether the table learns"""
    idf_learning_rate: LearningRate | None = None
    """the table's own; learning_rate unless given"""


class Start(Section):
    """How `init` is read."""

    reinterpret: bool = False
    """use an init that sentence-transformers saved in another way than its folder says"""


class LexiconStart(Start):
    idf: Annotated[str | None, UserFile("collection")] = None
    """the table: a JSON file from token to weight, or `collection`; that of init unless given"""


class Representation(Section):
    """What makes vectors or scores of texts: what a model folder keeps (led.json), whatever the model has learned."""

    query_length: int = Field(32, ge=3, le=LARGEST)
    """tokens, the special ones included"""
    passage_length: int = Field(128, ge=5, le=LARGEST)
    """tokens, title and special ones included"""
    untitled: Literal["text", "empty_title"] = "text"
    """A passage without a title: [CLS] text [SEP], or [CLS] [SEP] text [SEP] with an empty one, as LED's code
    reads it."""
    query_prefix: str = ""
    """put before every query, tokenised apart; query_length includes it"""
    passage_prefix: str = ""
    """put before every passage, and before its title"""

    def length(self, side: Side) -> int:
        """Return the largest number of tokens of a text of one side."""
        return self.query_length if side == "query" else self.passage_length

    def prefix(self, side: Side) -> str:
        """Return what is put before every text of one side."""
        return self.query_prefix if side == "query" else self.passage_prefix


class RetrieverRepresentation(Representation):
    temperature: Temperature = 1.0
    """scores are divided by it in training"""
    untied: bool = False
    """queries get an encoder of their own"""


class DenseRepresentation(RetrieverRepresentation):
    family: Literal["dense"]
    pooling: Annotated[
        str, AfterValidator(lambda v: in_user_file(v, "cls", "mean", "last", kind="function")), UserCode()
    ] = "cls"
    """The first token's vector, the mean, the last token's, or file.py:function of the user's."""
    normalize: bool = False
    """vectors of length 1, for cosine similarity"""
    head: Positive | None = None
    """project the pooled vector to this number of dimensions, without a bias"""
    encoder_decoder: Literal["encoder", "first_decoder_token"] = "encoder"
    """What of a T5 is read: its encoder's pooled states, or the vector of the first decoder token (no pooling then)."""
    append_eos: bool = False
    """end texts with the eos token, for tokenizers without [CLS] and [SEP]"""
    encoder: Annotated[Annotated[str, AfterValidator(lambda v: in_user_file(v, kind="Class"))] | None, UserCode()] = (
        None
    )
    """An encoder class of the user's, file.py:Class, in place of pooling, head and normalize."""


class LexiconRepresentation(RetrieverRepresentation):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False
    """pool over the first and the last token, too"""
    activation: Literal["log1p", "log1p_twice"] = "log1p"
    """of the highest logit, after relu"""
    query_encoder: Literal["model", "bag_of_words", "idf"] = "model"
    """Whether a query is encoded, or is the set of its tokens, each with the weight 1 or one of a table."""
    top_k_queries: Positive | None = None
    """number of a query's highest weights to keep, in training and afterwards"""
    top_k_passages: Positive | None = None
    """the same of passages"""
    prune_ratio_queries: Share = 0.0
    """keep what is above this share of the text's highest weight"""
    prune_ratio_passages: Share = 0.0
    """the same of passages"""


class RankerRepresentation(Representation):
    family: Literal["ranker"]
    scoring: Literal["classifier", "true_false"] = "classifier"
    """true_false: two words' logits of a T5 (monoT5)"""
    template: str = "Query: {query} Document: {passage} Relevant:"
    """true_false: the prompt around the texts; their lengths leave it out."""
    true_word: str = "true"
    """true_false: the word whose logit is the score ..."""
    false_word: str = "false"
    """... against the logit of this one"""


class Running(Section):
    """How a training is watched and kept; no result depends on it."""

    checkpoint_min: Factor = 30
    """minutes between checkpoints"""
    checkpoint_steps: Positive | None = None
    """number of steps between checkpoints, besides the minutes"""
    tracking: list[Literal["tensorboard", "wandb"]] = []
    """besides train.jsonl; the package must be installed"""


class Inference(Section):
    inference_precision: Literal["float32", "bf16"] | None = None
    """Of vectors, and of a ranker's scores: precision of the products; unless given, bf16 on a GPU, float32
    elsewhere."""


class Pretraining(Seeded):
    """A word-piece vocabulary and a small BERT made from the collection itself, where no hub is at hand."""

    vocabulary: int = Field(8_192, ge=300, le=10_000_000)
    """word pieces"""
    hidden: int = Field(128, ge=3, le=LARGEST)
    """size of the hidden states, two of which hold a constant"""
    layers: Positive = 2
    """transformer layers"""
    heads: Positive = 2
    """attention heads"""
    intermediate: Positive = 512
    """size between the two products of a layer"""
    positions: Positive = 128
    """the longest text in tokens"""
    dropout: Share = 0.0
    """also that of the stages that start from here"""
    output_scale: Factor = 0.1
    """how far the layers start from the identity"""
