"""The recipe: what a config file may say, checked before any job starts. Imports no torch.

`Recipe.load` validates a config (a parsed YAML mapping), fills in `defaults`, and resolves the graph of stages.
Every error is one sentence that names the key and, where a name is misspelt, the nearest right one.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from led_pipeline.files import InputError
from led_pipeline.recipe_errors import nearest, sentences

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Defect = Literal["empty_text", "duplicate_id", "bad_utf8", "qrel_without_passage", "qrel_without_query"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Split(_Section):
    """One set of queries with its judgements; file names are relative to the dataset's folder."""

    queries: str | None = None  # unless given: queries.SPLIT.tsv, or queries.jsonl for BEIR
    qrels: str | None = None  # unless given: qrels.SPLIT.tsv, or qrels/SPLIT.tsv for BEIR
    relevant_from: Positive = 1  # the lowest grade that binary measures count as relevant (TREC DL: 2)
    limit: Positive | None = None  # a seeded sample of this many judged queries


class Docstrings(_Section):
    """How much of the embedded data to take: docstrings of the installed packages."""

    passages: Positive = 12_000
    dev_queries: Positive = 1_000
    seed: int = 17  # which docstrings; the recipe's seed does not change the data


class Dataset(_Section):
    """Where the text comes from and in which format it is."""

    name: Name
    source: Literal["docstrings", "download", "folder"]
    format: Literal["msmarco", "beir"] = "msmarco"
    folder: str | None = None  # source: folder; relative paths start at the working directory
    collection: str | None = None  # unless given: collection.tsv, or corpus.jsonl for BEIR
    titles: str | None = None
    splits: dict[Name, Split]
    negatives: dict[Name, str] = {}  # published negatives of the train queries: system name -> file
    docstrings: Docstrings = Docstrings()
    max_tokens: Positive = 512  # what the token store keeps of a passage, at least every passage_length
    shards: Positive = 1  # parts into which encoding and scoring are cut; no result depends on it
    skip: list[Defect] = []  # known defects of a published file to skip and count instead of stopping

    @property
    def collection_file(self) -> str:
        return self.collection or {"msmarco": "collection.tsv", "beir": "corpus.jsonl"}[self.format]

    def queries_of(self, split: str) -> str:
        return self.splits[split].queries or {"msmarco": f"queries.{split}.tsv", "beir": "queries.jsonl"}[self.format]

    def qrels_of(self, split: str) -> str:
        return self.splits[split].qrels or {"msmarco": f"qrels.{split}.tsv", "beir": f"qrels/{split}.tsv"}[self.format]


class Bm25(_Section):
    k1: float = Field(0.9, gt=0)
    b: Fraction = 0.4


class Mining(_Section):
    depth: Positive = 200  # unjudged passages kept per train query and system
    hits: Positive = 300  # passages searched per train query, judged ones included
    published_depth: Positive = 1_000  # kept of published negatives


class Validation(_Section):
    """Re-ranking of one system's best passages for a few queries, during training; the best step is kept."""

    split: Name = "dev"
    system: Name = "bm25"
    queries: Positive = 1_000
    depth: Positive = 1_000
    every: Positive = 10_000  # optimizer steps


class Evaluation(_Section):
    splits: list[Name] = ["dev"]
    depth: Positive = 1_000
    compare: list[tuple[Name, Name]] = []  # pairs of systems for a paired significance test
    examples: int = Field(5, ge=0)  # queries shown side by side in the report
    side_by_side: tuple[Name, Name] | None = None


class JobResources(_Section):
    gpu: int = Field(0, ge=0)
    threads: Positive = 1
    mem_mb: Positive = 4_000
    runtime_min: Positive = 60


class Resources(_Section):
    """What each kind of job asks for; partitions and accounts belong to the profile."""

    train: JobResources = JobResources()
    encode: JobResources = JobResources()
    score: JobResources = JobResources()
    search: JobResources = JobResources()
    cpu: JobResources = JobResources()


class Teacher(_Section):
    """A system whose stored scores of the trainset's passages a stage learns from."""

    stage: Name
    loss: Literal["rank", "kl", "ranknet", "listnet", "margin_mse", "margin_mse_softmax"]
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(1.0, gt=0)
    margin: float = Field(0.0, ge=0)  # rank: how far apart two passages must score
    min_confidence: float = Field(0.0, ge=0)  # rank: least gap between the teacher's scores of a pair
    with_positive: bool = True  # whether the positive takes part


class _Stage(_Section):
    seed: int | None = None  # the recipe's seed unless given
    resources: JobResources | None = None


class Pretrain(_Stage):
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


class _Trained(_Stage):
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
    query_length: Positive = 32  # tokens, the special ones included
    passage_length: Positive = 128
    checkpoint_min: float = Field(30, gt=0)  # minutes between checkpoints
    validation: bool = True


class Dense(_Trained):
    family: Literal["dense"]
    pooling: Literal["cls", "mean"] = "cls"
    normalize: bool = False
    temperature: float = Field(1.0, gt=0)
    dual_weight: float = Field(0.0, ge=0)  # symmetric KL between two dropout passes over the passages


class Lexicon(_Trained):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False
    flops_passages: float = Field(8e-4, ge=0)
    flops_queries: float = Field(6e-4, ge=0)
    quantisation: Positive = 100  # impact = round(weight x this), on the way into Anserini only
    temperature: ClassVar[float] = 1.0


class Rerank(_Section):
    """What a ranker is evaluated on: the first passages of another system's run."""

    system: Name = "bm25"
    depth: Positive = 100


class Ranker(_Trained):
    family: Literal["ranker"]
    rerank: Rerank = Rerank()


Stage = Annotated[Union[Pretrain, Dense, Lexicon, Ranker], Field(discriminator="family")]
FAMILIES: dict[str, type[_Stage]] = {"pretrain": Pretrain, "dense": Dense, "lexicon": Lexicon, "ranker": Ranker}

# What the output of a rule depends on. Everything else may change without re-running it.
_LENGTHS = ("query_length", "passage_length")
READS: dict[str, tuple[str, ...]] = {
    "trainset": ("negatives", "negatives_per_query", "negatives_depth", "deduplicate", "epochs", "max_steps", "batch_size", "seed"),
    "train": (
        "family", "pooling", "normalize", "temperature", "dual_weight", "keep_special_tokens", "flops_passages",
        "flops_queries", "teachers", "contrastive_weight", "batch_size", "epochs", "max_steps", "learning_rate",
        "weight_decay", "warmup_fraction", "clip_norm", "precision", "seed", *_LENGTHS,
    ),
    "import": ("family", "pooling", "normalize", "temperature", "keep_special_tokens", *_LENGTHS),
    "pretrain": ("vocabulary", "hidden", "layers", "heads", "intermediate", "positions", "dropout", "output_scale", "seed"),
}  # fmt: skip


class Recipe(_Section):
    """A whole recipe. `defaults` holds keys that every stage which knows them takes unless it says otherwise."""

    dataset: Dataset
    tokenizer: str = "bert-base-uncased"
    seed: int = 42
    bm25: Bm25 = Bm25()
    mining: Mining = Mining()
    validation: Validation | None = None
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()
    defaults: dict[str, Any] = {}
    stages: dict[Name, Stage]

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> "Recipe":
        """Check a config and return the recipe.

        Raises:
            InputError: one line per fault, each naming its key.
        """
        faults = []
        config = dict(config)
        stages, defaults = config.get("stages"), config.get("defaults") or {}
        if isinstance(stages, Mapping) and isinstance(defaults, Mapping):
            known = {key for family in FAMILIES.values() for key in family.model_fields} - {"family", "init"}
            faults = [
                f"defaults.{key}: no such key in any family of stages{nearest(key, known)}"
                for key in defaults
                if key not in known
            ]
            config["stages"] = {name: _with_defaults(stage, defaults) for name, stage in stages.items()}
        if not faults:
            try:
                recipe = cls.model_validate(config)
            except ValidationError as error:
                faults = sentences(error, cls, config)
            else:
                faults = recipe._faults()
        if faults:
            raise InputError("\n".join(f"recipe: {fault}" for fault in faults))
        return recipe

    def _faults(self) -> list[str]:
        """What the schema alone cannot see: names that lead nowhere, cycles, sizes that do not fit together."""
        faults = []
        retrievers = {*self.retrievers, "bm25", *self.dataset.negatives}

        def check(key: str, name: str, known: set[str], what: str) -> None:
            if name not in known:
                faults.append(f"{key}: no {what} '{name}'{nearest(name, known)}")

        for split in self.evaluation.splits:
            check("evaluation.splits", split, set(self.dataset.splits), "split")
        for system in [s for pair in self.evaluation.compare for s in pair] + list(self.evaluation.side_by_side or []):
            check("evaluation", system, set(self.systems), "system")
        if self.dataset.source == "folder" and not self.dataset.folder:
            faults.append("dataset.folder: source 'folder' needs the path of a folder")
        for name, stage in self.stages.items():
            key = f"stages.{name}"
            if not isinstance(stage, _Trained):
                continue
            for field in ("init", "tokenizer"):
                value = getattr(stage, field)
                if value and "/" not in value and value not in self.stages and nearest(value, self.stages):
                    faults.append(f"{key}.{field}: no stage '{value}'{nearest(value, self.stages)}")
            for i, system in enumerate(stage.negatives):
                check(f"{key}.negatives[{i}]", system, retrievers, "system to take negatives from")
            for i, teacher in enumerate(stage.teachers):
                check(f"{key}.teachers[{i}].stage", teacher.stage, set(self.stages), "stage")
            if stage.train:
                faults += self._training_faults(key, name, stage)
        return faults or self._cycle()

    def _training_faults(self, key: str, name: str, stage: _Trained) -> list[str]:
        faults = []
        processes = self.processes(name)
        if stage.batch_size % processes:
            down = stage.batch_size - stage.batch_size % processes
            faults.append(
                f"{key}.batch_size: {stage.batch_size} queries cannot be split evenly over {processes} processes"
                f" (resources.train.gpu); nearest sizes: {', '.join(str(s) for s in (down, down + processes) if s)}"
            )
        if not stage.negatives:
            faults.append(f"{key}.negatives: a stage that is trained needs at least one system (bm25, or a stage)")
        if "train" not in self.dataset.splits:
            faults.append(f"{key}.train: the dataset has no split 'train' to learn from")
        if stage.passage_length > self.dataset.max_tokens:
            faults.append(
                f"{key}.passage_length: {stage.passage_length} is more than dataset.max_tokens ({self.dataset.max_tokens})"
            )
        if stage.validation and self.validation and self.validation.split not in self.dataset.splits:
            faults.append(
                f"validation.split: no split '{self.validation.split}'{nearest(self.validation.split, self.dataset.splits)}"
            )
        return faults

    def _cycle(self) -> list[str]:
        try:
            TopologicalSorter({name: self.parents(name) for name in self.stages}).prepare()
        except CycleError as error:
            return [
                f"stages: {' needs '.join(error.args[1][::-1])}: a stage cannot need itself, change one of these edges"
            ]
        return []

    def parents(self, name: str) -> set[str]:
        """Return the stages that a stage takes its weights, tokenizer, negatives or teacher scores from."""
        stage = self.stages[name]
        if not isinstance(stage, _Trained):
            return set()
        named = {stage.init, stage.tokenizer or self.tokenizer}
        if stage.train:
            named |= {*stage.negatives, *(teacher.stage for teacher in stage.teachers)}
        if isinstance(stage, Ranker):
            named.add(stage.rerank.system)
        return {other for other in named if other in self.stages}

    def order(self) -> list[str]:
        """Return the stages, each after those it needs, otherwise as the config lists them."""
        done: list[str] = []
        while len(done) < len(self.stages):
            done.append(next(n for n in self.stages if n not in done and self.parents(n) <= set(done)))
        return done

    def names(self, *families: str) -> list[str]:
        """Return the names of the stages of some families."""
        return [name for name, stage in self.stages.items() if stage.family in families]

    @property
    def retrievers(self) -> list[str]:
        return self.names("dense", "lexicon")

    @property
    def systems(self) -> list[str]:
        """Everything that ranks: BM25, then the stages in order."""
        return ["bm25", *(n for n in self.order() if self.stages[n].family != "pretrain")]

    def tokenizer_of(self, name: str) -> str:
        return getattr(self.stages[name], "tokenizer", None) or self.tokenizer

    def job(self, kind: str, stage: str | None = None) -> JobResources:
        """Return what a job of some kind asks for; a stage's own `resources` are those of its training."""
        own = self.stages[stage].resources if stage and kind == "train" else None
        return own or getattr(self.resources, kind)

    def processes(self, stage: str) -> int:
        """Return the number of training processes of a stage: one per GPU, one without a GPU."""
        return max(1, self.job("train", stage).gpu)

    def settings(self, step: str, name: str) -> dict[str, Any]:
        """Return exactly the settings of a stage that a step's output depends on."""
        stage = self.stages[name]
        values = stage.model_dump(mode="json")
        values["seed"] = self.seed if stage.seed is None else stage.seed
        return {key: values[key] for key in READS[step] if key in values}


def _with_defaults(stage: Any, defaults: Mapping[str, Any]) -> Any:
    """Fill in the defaults that the stage's family knows; what is not a stage is left for the schema to name."""
    family = FAMILIES.get(stage.get("family")) if isinstance(stage, Mapping) else None
    if family is None:
        return stage
    return {key: value for key, value in defaults.items() if key in family.model_fields} | dict(stage)
