"""The recipe's keys outside `dataset` and `stages`, with their defaults, bounds and meaning. Imports no torch.

Those two have modules of their own, `dataset` and `stages`. A key that is in none of the three is an error.
What one section alone cannot show (names that lead nowhere, sizes that do not fit together) is checked in
`checks`.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from led_pipeline.recipe.languages import Language

# Numbers that no training can use are faults of the recipe, not of the step that meets them hours later. A float is
# never nan or inf.
LARGEST = 2**31 - 1  # of whole numbers: what rows and counts are stored as
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Depth = Annotated[int, Field(ge=1, le=1_000_000)]  # passages of a query
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what NumPy takes
Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]  # of something that must leave a rest
Weight = Annotated[float, Field(ge=0, le=1e6)]  # of a term of a loss
Factor = Annotated[float, Field(gt=0, le=1e6)]
Score = Annotated[float, Field(ge=-1e9, le=1e9)]
Temperature = Annotated[float, Field(ge=1e-4, le=1e4)]  # scores divided by it stay finite in float32
LearningRate = Annotated[float, Field(gt=0, le=1)]  # AdamW moves a weight by about so much
# Measures at a cut-off k, such as nDCG@10: name -> name in trec_eval, which computes them (`evaluation.measures`).
KINDS_OF_MEASURES = {
    "MRR": "recip_rank",
    "nDCG": "ndcg_cut_{k}",
    "MAP": "map_cut_{k}",
    "P": "P_{k}",
    "recall": "recall_{k}",
    "hit": "success_{k}",
}
Measure = Annotated[str, Field(pattern=rf"^({'|'.join(KINDS_OF_MEASURES)})@[1-9][0-9]{{0,5}}$")]
JUDGED = "judged"  # in place of a system: the judged passages of each query


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        """Make texts of `true` and `false` where a number is expected: pydantic would take them for 1 and 0."""
        if not isinstance(values, dict):
            return values
        numbers = {key for key, field in cls.model_fields.items() if _is_number(field.annotation)}
        return {k: str(v).lower() if isinstance(v, bool) and k in numbers else v for k, v in values.items()}


def _is_number(annotation: Any) -> bool:
    """Return whether a key takes a number and neither true nor false."""
    kinds = [annotation, *(kind for option in get_args(annotation) for kind in (option, *get_args(option)))]
    return any(kind in (int, float) for kind in kinds) and bool not in kinds


class Bm25(Section):
    language: Language = "en"
    """How texts become terms: the code of an Anserini analyser (en: Porter stemming, English stop words dropped); none:
    words in lower case, neither stemmed nor dropped; bigrams: pairs of letters, for scripts without blanks."""
    k1: float = Field(0.9, gt=0, le=1_000)
    """saturation of term frequencies"""
    b: Fraction = 0.4
    """share of the normalisation by length"""


class Mining(Section):
    depth: Depth = 200
    """unjudged passages kept per train query and system"""
    hits: Depth = 300
    """passages searched per train query, judged ones included"""
    published_depth: Depth = 1_000
    """kept of published negatives"""


class Search(Section):
    """What BM25 and lexicon stages search with; dense stages use FAISS."""

    backend: Literal["anserini", "opensearch"] = "anserini"
    """opensearch: the node of OPENSEARCH_URL"""


class Validation(Section):
    """Re-ranking of a few passages for a few queries, during training."""

    split: Name = "dev"
    """whose queries"""
    system: Name = "bm25"
    """whose ranking gives the candidates; judged: the judged passages alone, without a search"""
    queries: Positive = 1_000
    """number of queries of the split, those with the lowest ids"""
    depth: Depth = 1_000
    """candidates per query; of judged ones all"""
    every: Positive = 10_000
    """optimizer steps"""
    keep: Literal["best", "last"] = "best"
    """which weights: those of the best validated step, or of the last step"""
    measure: Measure = "MRR@10"
    """MRR, nDCG, MAP, P, recall or hit at a cut-off"""


class Evaluation(Section):
    splits: list[Name] = ["dev"]
    """what is measured on"""
    depth: Depth = 1_000
    """passages ranked per query"""
    compare: list[tuple[Name, Name]] = []
    """pairs of systems for a paired significance test"""
    examples: int = Field(5, ge=0, le=1_000)
    """queries shown side by side in the report"""
    side_by_side: tuple[Name, Name] | None = None
    """two systems whose results the report shows"""
    gate: bool = False
    """stop where a result is below the published one by more than its tolerance"""


class JobResources(Section):
    gpu: Count = 0
    """GPUs of a job; 0: it runs on the processor"""
    threads: Positive = 1
    """threads of a job"""
    mem_mb: Positive = 4_000
    """memory in MB, for the scheduler"""
    runtime_min: Positive = 60
    """minutes, for the scheduler"""


class TrainingResources(JobResources):
    """What a training asks for: gpu, threads and mem_mb of each node."""

    nodes: Positive = 1
    """more than one only under SLURM"""
    accelerate: str | None = None
    """a file of `accelerate config` that shards the weights: FSDP or DeepSpeed"""


class Resources(Section):
    """What each kind of job asks for; partitions and accounts belong to the profile."""

    train: TrainingResources = TrainingResources()
    """trainings and pretraining"""
    encode: JobResources = JobResources()
    """vectors"""
    score: JobResources = JobResources()
    """a ranker's scores, of teachers and of reranking"""
    search: JobResources = JobResources()
    """dense search"""
    cpu: JobResources = JobResources()
    """everything else"""
