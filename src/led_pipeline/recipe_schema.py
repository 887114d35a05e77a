"""The recipe's keys: every section of a config with its defaults, bounds and meaning. Imports no torch.

A key that is not here is an error. What one section alone cannot show (names that lead nowhere, sizes that do not fit
together) is checked in `recipe_checks`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Defect = Literal["empty_text", "duplicate_id", "bad_utf8", "qrel_without_passage", "qrel_without_query"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Split(Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: str | None = None  # unless given: queries.SPLIT.tsv, or queries.jsonl for BEIR
    qrels: str | None = None  # unless given: qrels.SPLIT.tsv, or qrels/SPLIT.tsv for BEIR
    relevant_from: Positive = 1  # the lowest grade that binary measures count as relevant (TREC DL: 2)
    limit: Positive | None = None  # a seeded sample of this many judged queries


class Docstrings(Section):
    """How much of the embedded data to take: docstrings of the installed packages."""

    passages: Positive = 12_000
    dev_queries: Positive = 1_000
    seed: int = 17  # which docstrings; the recipe's seed does not change the data


class Dataset(Section):
    """Where the text comes from and in which format it is."""

    name: Name
    source: Literal["docstrings", "download", "folder"]
    format: Literal["msmarco", "beir"] = "msmarco"
    folder: str | None = None  # source: folder; relative paths start at the working directory
    collection: str | None = None  # unless given: collection.tsv, or corpus.jsonl for BEIR
    titles: str | None = None  # id TAB title, or JSON lines; which one changes results and stands in the report
    splits: dict[Name, Split]
    negatives: dict[Name, str] = {}  # published negatives of the train queries: system name -> file
    docstrings: Docstrings = Docstrings()
    max_tokens: Positive = 512  # what the token store keeps of a passage, at least every passage_length
    shards: Positive = 1  # parts of the collection and of the training queries, a job each; no result depends on it
    repair_encoding: bool = False  # decode text that was encoded twice ("cafÃ©"); published numbers are without
    skip: list[Defect] = []  # known defects of a published file to skip and count instead of stopping

    @property
    def collection_file(self) -> str:
        return self.collection or {"msmarco": "collection.tsv", "beir": "corpus.jsonl"}[self.format]

    def queries_of(self, split: str) -> str:
        return self.splits[split].queries or {"msmarco": f"queries.{split}.tsv", "beir": "queries.jsonl"}[self.format]

    def qrels_of(self, split: str) -> str:
        return self.splits[split].qrels or {"msmarco": f"qrels.{split}.tsv", "beir": f"qrels/{split}.tsv"}[self.format]


class Bm25(Section):
    k1: float = Field(0.9, gt=0)
    b: Fraction = 0.4


class Mining(Section):
    depth: Positive = 200  # unjudged passages kept per train query and system
    hits: Positive = 300  # passages searched per train query, judged ones included
    published_depth: Positive = 1_000  # kept of published negatives


class Validation(Section):
    """Re-ranking of one system's best passages for a few queries, during training, measured by MRR@10."""

    split: Name = "dev"
    system: Name = "bm25"
    queries: Positive = 1_000
    depth: Positive = 1_000
    every: Positive = 10_000  # optimizer steps
    keep: Literal["best", "last"] = "best"  # which weights: those of the best validated step, or of the last step


class Evaluation(Section):
    splits: list[Name] = ["dev"]
    depth: Positive = 1_000
    compare: list[tuple[Name, Name]] = []  # pairs of systems for a paired significance test
    examples: int = Field(5, ge=0)  # queries shown side by side in the report
    side_by_side: tuple[Name, Name] | None = None
    gate: bool = False  # stop where a result lies below the published one by more than its tolerance


class JobResources(Section):
    gpu: int = Field(0, ge=0)
    threads: Positive = 1
    mem_mb: Positive = 4_000
    runtime_min: Positive = 60


class TrainingResources(JobResources):
    """What a training asks for: gpu, threads and mem_mb of each node."""

    nodes: Positive = 1  # more than one only under SLURM


class Resources(Section):
    """What each kind of job asks for; partitions and accounts belong to the profile."""

    train: TrainingResources = TrainingResources()
    encode: JobResources = JobResources()
    score: JobResources = JobResources()
    search: JobResources = JobResources()
    cpu: JobResources = JobResources()


class Teacher(Section):
    """A system whose stored scores of the trainset's passages a stage learns from."""

    stage: Name
    loss: Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax"]
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(1.0, gt=0)
    margin: float = Field(0.0, ge=0)  # rank: how far apart two passages must score
    min_confidence: float = Field(0.0, ge=0)  # rank: least gap between the teacher's scores of a pair
    with_positive: bool = True  # whether the positive takes part


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
    negatives: list[Name] = []
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
