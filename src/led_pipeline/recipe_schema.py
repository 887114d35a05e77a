"""The recipe's keys outside `dataset` and `stages`, with their defaults, bounds and meaning. Imports no torch.

Those two have modules of their own, `recipe_data` and `recipe_stages`. A key that is in none of the three is an error.
What one section alone cannot show (names that lead nowhere, sizes that do not fit together) is checked in
`recipe_checks`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Measure = Annotated[str, Field(pattern=r"^(MRR|nDCG|MAP|P|recall|hit)@[1-9][0-9]*$")]
JUDGED = "judged"  # in place of a system: the judged passages of each query


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Bm25(Section):
    k1: float = Field(0.9, gt=0)  # saturation of term frequencies
    b: Fraction = 0.4  # share of the normalisation by length


class Mining(Section):
    depth: Positive = 200  # unjudged passages kept per train query and system
    hits: Positive = 300  # passages searched per train query, judged ones included
    published_depth: Positive = 1_000  # kept of published negatives


class Search(Section):
    """What BM25 and lexicon stages search with; dense stages use FAISS."""

    backend: Literal["anserini", "opensearch"] = "anserini"  # opensearch: the node of OPENSEARCH_URL


class Validation(Section):
    """Re-ranking of a few passages for a few queries, during training."""

    split: Name = "dev"  # whose queries
    system: Name = "bm25"  # whose ranking gives the candidates; judged: the judged passages alone, without a search
    queries: Positive = 1_000  # the first so many of the split
    depth: Positive = 1_000  # candidates per query; of judged ones all
    every: Positive = 10_000  # optimizer steps
    keep: Literal["best", "last"] = "best"  # which weights: those of the best validated step, or of the last step
    measure: Measure = "MRR@10"  # MRR, nDCG, MAP, P, recall or hit at a cut-off


class Evaluation(Section):
    splits: list[Name] = ["dev"]  # what is measured on
    depth: Positive = 1_000  # passages ranked per query
    compare: list[tuple[Name, Name]] = []  # pairs of systems for a paired significance test
    examples: int = Field(5, ge=0)  # queries shown side by side in the report
    side_by_side: tuple[Name, Name] | None = None  # two systems whose results the report shows
    gate: bool = False  # stop where a result lies below the published one by more than its tolerance


class JobResources(Section):
    gpu: int = Field(0, ge=0)  # GPUs of a job; 0: it runs on the processor
    threads: Positive = 1  # threads of a job
    mem_mb: Positive = 4_000  # memory in MB, for the scheduler
    runtime_min: Positive = 60  # minutes, for the scheduler


class TrainingResources(JobResources):
    """What a training asks for: gpu, threads and mem_mb of each node."""

    nodes: Positive = 1  # more than one only under SLURM
    accelerate: str | None = None  # a file of `accelerate config` that shards the weights: FSDP or DeepSpeed


class Resources(Section):
    """What each kind of job asks for; partitions and accounts belong to the profile."""

    train: TrainingResources = TrainingResources()  # trainings and pretraining
    encode: JobResources = JobResources()  # vectors
    score: JobResources = JobResources()  # a ranker's scores, of teachers and of reranking
    search: JobResources = JobResources()  # dense search
    cpu: JobResources = JobResources()  # everything else
