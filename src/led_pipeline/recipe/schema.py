"""The recipe's keys outside `dataset` and `stages`, with their defaults, bounds and meaning. Imports no torch.

The modules `dataset` and `stages` have the others; any other key is an error. Module `checks` checks whole recipes:
unknown names, and sizes that do not fit together.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from led_pipeline.recipe.languages import Language
from led_pipeline.recipe.measures import MEASURES, Measure

# Numbers that no training can use are faults of the recipe, reported before a job fails hours later. No float is nan
# or inf.
LARGEST = 2**31 - 1  # the largest whole number: rows and counts are stored as int32
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Depth = Annotated[int, Field(ge=1, le=1_000_000)]  # passages of a query
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # NumPy's range
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]  # less than the whole
Weight = Annotated[float, Field(ge=0, le=1e6)]  # of a term of a loss
Factor = Annotated[float, Field(gt=0, le=1e6)]
Score = Annotated[float, Field(ge=-1e9, le=1e9)]
Temperature = Annotated[float, Field(ge=1e-4, le=1e4)]  # scores divided by it stay finite in float32
LearningRate = Annotated[float, Field(gt=0, le=1)]  # about the largest change of a weight per step of AdamW
QRELS = "qrels"  # the judgements as a system: a teacher's scores, a pool of negatives, candidates of a validation


class LeftOut:
    """Marks a key that is written down only if its value is not the default.

    Results from before the key existed then belong to the same texts, which Snakemake and checkpoints compare.
    """


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        """Turn true and false into strings where a number is expected: pydantic would accept them as 1 and 0."""
        if not isinstance(values, dict):
            return values
        numbers = {key for key, field in cls.model_fields.items() if _is_number(field.annotation)}
        return {k: str(v).lower() if isinstance(v, bool) and k in numbers else v for k, v in values.items()}

    @model_serializer(mode="wrap")
    def _without_defaults_of_later_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for key, field in type(self).model_fields.items():
            later = any(isinstance(mark, LeftOut) for mark in field.metadata)
            if later and getattr(self, key) == field.get_default(call_default_factory=True):
                values.pop(key, None)
        return values


def _is_number(annotation: Any) -> bool:
    """Return whether a key accepts a number but not true or false."""
    kinds = [annotation, *(kind for option in get_args(annotation) for kind in (option, *get_args(option)))]
    return any(kind in (int, float) for kind in kinds) and bool not in kinds


class Bm25(Section):
    language: Language = "en"
    """How texts become terms: the code of an Anserini analyser (en: Porter stemming without English stop words); none:
    lower-cased words, neither stemmed nor dropped; bigrams: pairs of letters, for scripts without blanks."""
    k1: float = Field(0.9, gt=0, le=1_000)
    """saturation of term frequency"""
    b: Fraction = 0.4
    """strength of length normalisation"""


class Mining(Section):
    depth: Depth = 200
    """number of unjudged passages per training query and system"""
    hits: Depth = 300
    """number of passages searched per training query, judged ones included"""
    published_depth: Depth = 1_000
    """number of published negatives to keep per query"""


class Search(Section):
    """The search engine of BM25 and lexicon stages; dense stages use FAISS, on a GPU torch."""

    backend: Literal["anserini", "opensearch"] = "anserini"
    """opensearch: the node at OPENSEARCH_URL"""
    lexicon: Literal["anserini", "exact", "exact_gpu"] = "anserini"
    """how lexicon stages are searched: with the engine of backend, or exactly, from a posting file and without Lucene,
    on the processor or on the GPUs of resources.search; all give the same rankings"""
    train_jobs: Annotated[Positive | None, LeftOut()] = None
    """Number of jobs that rank the training queries with a dense stage, or with a lexicon stage under exact_gpu;
    dataset.shards by default. Each reads all passages, so on GPUs 1 is fastest."""

    @property
    def lexicon_engine(self) -> str:
        """The engine of lexicon stages."""
        return self.backend if self.lexicon == "anserini" else "exact"

    @property
    def lexicon_on_gpus(self) -> bool:
        """Whether rankings of lexicon stages are computed on GPUs; single searches never are."""
        return self.lexicon == "exact_gpu"


class Validation(Section):
    """Re-ranking of a few passages for a few queries, during training."""

    split: Name = "dev"
    """the split with the queries"""
    system: Name = "bm25"
    """the system whose ranking has the candidates; qrels: the judged passages alone, without a search"""
    queries: Positive = 1_000
    """number of queries of the split, those with the lowest ids"""
    depth: Depth = 1_000
    """number of candidates per query; with qrels, all judged passages are candidates"""
    every: Positive = 10_000
    """number of optimizer steps between validations"""
    keep: Literal["best", "last"] = "best"
    """the weights to keep: those of the best validated step, or of the last step"""
    measure: Measure = "MRR@10"
    """the measure that decides about the weights: MRR, nDCG, MAP, P, recall or hit at a cut-off, such as nDCG@10; or
    MRR, nDCG, MAP or Rprec without one"""
    also: Annotated[list[Measure], LeftOut()] = []
    """further measures to log"""


class Evaluation(Section):
    splits: list[Name] = ["dev"]
    """the splits to measure on"""
    depth: Depth = 1_000
    """number of passages ranked per query"""
    measures: Annotated[list[Measure], LeftOut(), Field(min_length=1)] = [*MEASURES]
    """the measures of every system, in the order of the report's columns; those of the default that are beyond `depth`
    are left out"""
    compare: list[tuple[Name, Name]] = []
    """pairs of systems for a paired significance test"""
    examples: int = Field(5, ge=0, le=1_000)
    """number of queries whose results the report shows side by side"""
    side_by_side: tuple[Name, Name] | None = None
    """the two systems of these examples"""
    timed_queries: Annotated[int, Field(ge=0, le=100_000), LeftOut()] = 100
    """number of queries of the first split whose searches are timed, one at a time, for the costs in the report"""
    gate: bool = False
    """fail if a result is below the published one by more than the tolerance"""


class JobResources(Section):
    gpu: Count = 0
    """number of GPUs per job; 0: the job runs on the CPU"""
    threads: Positive = 1
    """number of threads per job"""
    mem_mb: Positive = 4_000
    """memory in MB, for the scheduler"""
    runtime_min: Positive = 60
    """run time in minutes, for the scheduler"""


class TrainingResources(JobResources):
    """The resources of a training; gpu, threads and mem_mb are per node."""

    nodes: Positive = 1
    """number of nodes; more than one only under SLURM"""
    accelerate: str | None = None
    """a file written by `accelerate config` that shards the weights with FSDP or DeepSpeed"""


class Resources(Section):
    """The resources of each kind of job; partitions and accounts belong in the profile."""

    train: TrainingResources = TrainingResources()
    """training and pretraining"""
    encode: JobResources = JobResources()
    """encoding of queries and passages"""
    score: JobResources = JobResources()
    """scoring by rankers, as teachers or for reranking"""
    search: JobResources = JobResources()
    """dense search"""
    cpu: JobResources = JobResources()
    """all other jobs"""
