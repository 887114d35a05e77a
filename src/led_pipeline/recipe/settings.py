"""Settings of stages, in groups by their reader; each family of stages (`stages`) is composed of groups.

A key belongs to one group. A step depends on a list of groups (`steps`), and a saved model keeps one
(`Representation`). The YAML is flat: a stage has the keys of all its groups. Imports no torch.
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
    """the recipe's seed by default"""


class Sampling(Section):
    """Which passages an example has: its positives, and where its negatives are drawn from."""

    negatives: list[Negatives] = []
    """systems from whose pools negatives are drawn, or mappings that select passages of a pool"""
    negatives_per_query: Positive = 7
    """negatives per example, drawn again for every epoch"""
    negatives_depth: Positive = 200
    """passages of each pool that are drawn from, best first"""
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
    sampling: Literal["random", "window"] = "random"
    """draw negatives at random in every epoch, or move a window through one shuffled list"""

    @property
    def negative_systems(self) -> list[str]:
        """The systems of `negatives`, in order; a system may occur several times."""
        return [source if isinstance(source, str) else source.system for source in self.negatives]


class Schedule(Seeded):
    """The number of examples and of steps."""

    batch_size: Positive = 16
    """queries per optimizer step over all processes"""
    epochs: int = Field(3, ge=1, le=10_000)
    """passes over the training queries"""
    max_steps: Positive | None = None
    """largest number of optimizer steps; training ends with the epochs if they are shorter"""


class Objective(Section):
    """The terms of the loss."""

    teachers: list[Teacher] = []
    """systems whose scores the stage learns from"""
    contrastive_weight: Weight = 1.0
    """weight of the cross-entropy over the candidates"""
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


class Optimisation(Section):
    """How the weights are updated."""

    learning_rate: LearningRate = 1e-5
    """AdamW's, at the end of the warm-up"""
    weight_decay: float = Field(0.0, ge=0, le=100)
    """AdamW's; biases and normalisation weights do not decay"""
    warmup_fraction: Fraction = 0.01
    """share of the steps in which the learning rate rises from 0; after them it falls to 0"""
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
    load_in: Literal["8bit", "4bit"] | None = None
    """quantise the frozen weights; needs lora and bitsandbytes"""


class LexiconOptimisation(Optimisation):
    new_head: bool = False
    """begin with a random masked-LM head if init has none, instead of an error"""
    idf_trained: bool = False
    """whether the table of query weights is trained"""
    idf_learning_rate: LearningRate | None = None
    """learning rate of the table; learning_rate by default"""


class Start(Section):
    """How `init` is read."""

    reinterpret: bool = False
    """ignore what sentence-transformers saved with init about its pooling, prompts and so on"""


class LexiconStart(Start):
    idf: Annotated[str | None, UserFile("collection")] = None
    """the table of query weights: a JSON file from token to weight, or `collection`; that of init by default"""


class Representation(Section):
    """How a model turns texts into vectors or scores; saved with the model (led.json)."""

    query_length: int = Field(32, ge=3, le=LARGEST)
    """tokens of a query, special ones included"""
    passage_length: int = Field(128, ge=5, le=LARGEST)
    """tokens of a passage, title and special ones included"""
    untitled: Literal["text", "empty_title"] = "text"
    """Format of a passage without a title: [CLS] text [SEP], or [CLS] [SEP] text [SEP] as in LED's code."""
    query_prefix: str = ""
    """text before every query, tokenised separately; query_length includes it"""
    passage_prefix: str = ""
    """text before every passage and its title"""

    def length(self, side: Side) -> int:
        """Return the largest number of tokens of a text of one side."""
        return self.query_length if side == "query" else self.passage_length

    def prefix(self, side: Side) -> str:
        """Return the text before every text of one side."""
        return self.query_prefix if side == "query" else self.passage_prefix


class RetrieverRepresentation(Representation):
    temperature: Temperature = 1.0
    """divides the scores in training"""
    untied: bool = False
    """train a separate encoder for queries"""


class DenseRepresentation(RetrieverRepresentation):
    family: Literal["dense"]
    pooling: Annotated[
        str, AfterValidator(lambda v: in_user_file(v, "cls", "mean", "last", kind="function")), UserCode()
    ] = "cls"
    """The vector of the first token, the mean of all, the vector of the last token, or a function file.py:function."""
    normalize: bool = False
    """vectors of length 1, for cosine similarity"""
    head: Positive | None = None
    """project the pooled vector to this number of dimensions, without a bias"""
    encoder_decoder: Literal["encoder", "first_decoder_token"] = "encoder"
    """T5: pool the states of the encoder, or take the vector of the first decoder token."""
    append_eos: bool = False
    """end texts with the eos token, for tokenizers without [CLS] and [SEP]"""
    encoder: Annotated[Annotated[str, AfterValidator(lambda v: in_user_file(v, kind="Class"))] | None, UserCode()] = (
        None
    )
    """A class file.py:Class that replaces pooling, head and normalize."""


class LexiconRepresentation(RetrieverRepresentation):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False
    """include the first and the last token in the pooling"""
    activation: Literal["log1p", "log1p_twice"] = "log1p"
    """function of the highest logit, after relu"""
    query_encoder: Literal["model", "bag_of_words", "idf"] = "model"
    """Encode queries with the model, or take the set of their tokens, with the weight 1 or that of a table (idf)."""
    top_k_queries: Positive | None = None
    """keep only this number of a query's highest weights, in training and afterwards"""
    top_k_passages: Positive | None = None
    """the same for passages"""
    prune_ratio_queries: Share = 0.0
    """drop a query's weights up to this share of its highest weight"""
    prune_ratio_passages: Share = 0.0
    """the same for passages"""


class RankerRepresentation(Representation):
    family: Literal["ranker"]
    scoring: Literal["classifier", "true_false"] = "classifier"
    """classifier: one logit; true_false: the logits of two words of a T5 (monoT5)"""
    template: str = "Query: {query} Document: {passage} Relevant:"
    """true_false: the prompt around the texts; the lengths do not include it."""
    true_word: str = "true"
    """true_false: the word whose logit counts positive"""
    false_word: str = "false"
    """true_false: the word whose logit is subtracted"""


class Running(Section):
    """How a training is logged and saved; no result depends on it."""

    checkpoint_min: Factor = 30
    """minutes between checkpoints"""
    checkpoint_steps: Positive | None = None
    """optimizer steps between checkpoints, in addition to the minutes"""
    tracking: list[Literal["tensorboard", "wandb"]] = []
    """trackers in addition to train.jsonl; their packages must be installed"""


class Inference(Section):
    inference_precision: Literal["float32", "bf16"] | None = None
    """Type of the matrix products when encoding and scoring; by default bf16 on a GPU, float32 elsewhere."""


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
