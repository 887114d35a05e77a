"""Layout: the path of every file under results/ and logs/. Imports no torch.

Methods return paths as plain strings. An argument may be a wildcard of Snakemake in braces, so that one method gives
both a rule's pattern, `layout.model("{stage}")`, and a job's file, `layout.model("led")`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from led_pipeline.files import folder_names

# What the results of a dataset are sorted into; docs/architecture.md says what each folder holds.
Folder = Literal[
    "source", "prepared", "hub", "tokens", "models", "checkpoints", "vectors", "index", "rankings", "pools",
    "trainsets", "runs", "eval", "costs", "report", "provenance", "benchmarks",
]  # fmt: skip
# What `snakemake --all-temp` may remove: jobs make it of other files, and it is most of the disk.
INTERMEDIATE: tuple[Folder, ...] = ("tokens", "vectors", "pools", "trainsets")
ARCHIVES = ".archives"  # in source/: downloads that are not finished
VECTOR_SUFFIX = {"dense": "npy", "sparse": "arrow"}  # output of a stage -> file format of its vectors


@dataclass(frozen=True)
class Layout:
    """The files of one dataset."""

    root: str | Path  # folder of the results
    logs: str = ""

    @classmethod
    def of(cls, dataset: str) -> "Layout":
        """Return the layout of a dataset by its name, relative to the folder that the run starts in."""
        return cls(f"results/{dataset}", f"logs/{dataset}")

    def _path(self, folder: Folder, name: str) -> str:
        return f"{self.root}/{folder}/{name}"

    def is_intermediate(self, path: str) -> bool:
        """Return whether a file is no result of the run, and needed only until other jobs have read it."""
        return path.startswith(tuple(f"{self.root}/{folder}/" for folder in INTERMEDIATE))

    def log(self, name: str) -> str:
        """Return the log of a rule's jobs; every rule has a name of its own for them."""
        return f"{self.logs}/{name}.log"

    @property
    def benchmarks(self) -> str:
        """Return the folder of what Snakemake measured of every job."""
        return f"{self.root}/benchmarks"

    def benchmark(self, job: str) -> str:
        """Return what Snakemake measured of a job (seconds, memory, load), by the name of the job's log."""
        return self._path("benchmarks", f"{job}.tsv")

    @property
    def run_file(self) -> str:
        """Return the jobs of the newest run."""
        return f"{self.logs}/run.json"

    @property
    def estimates(self) -> str:
        """Return what the jobs take, as the preflight estimates it."""
        return f"{self.logs}/estimates.json"

    # --- before the first job

    @property
    def preflight(self) -> str:
        return f"{self.root}/preflight.json"

    @property
    def contents(self) -> str:
        """Return the digests of the user's own files."""
        return self._path("provenance", "contents.json")

    def hub_folder(self, folder: str) -> str:
        """Return the folder of a model or tokenizer of the hub, by what `folder_names.of_hub` makes of its id."""
        return self._path("hub", folder)

    def hub(self, name: str) -> str:
        """Return the folder of a model or tokenizer of the hub, by its id."""
        return self.hub_folder(folder_names.of_hub(name))

    # --- data

    def source(self, name: str) -> str:
        """Return a published file that is downloaded, or one that the demo makes."""
        return self._path("source", name)

    @property
    def source_note(self) -> str:
        return self.source("source.json")

    @property
    def archives(self) -> str:
        return self.source(ARCHIVES)

    @property
    def checksums(self) -> str:
        return self.source("checksums")

    @property
    def passages(self) -> str:
        return self._path("prepared", "passages.parquet")

    def queries(self, split: str) -> str:
        return self._path("prepared", f"{split}.queries.parquet")

    def qrels(self, split: str) -> str:
        return self._path("prepared", f"{split}.qrels")

    def prepared_note(self, name: str) -> str:
        """Return the counts and the origin of a split's files, or of the collection's (`passages`)."""
        return self._path("prepared", f"{name}.json")

    def passage_tokens(self, tokenizer: str, shard: int | str) -> str:
        return self._path("tokens", f"{tokenizer}/passages.{shard}.arrow")

    def query_tokens(self, tokenizer: str, split: str) -> str:
        return self._path("tokens", f"{tokenizer}/{split}.arrow")

    # --- models and their vectors

    @property
    def models(self) -> str:
        return f"{self.root}/models"

    def model(self, stage: str) -> str:
        return f"{self.models}/{stage}"

    def model_note(self, stage: str) -> str:
        return f"{self.model(stage)}/led.json"

    def model_software(self, stage: str) -> str:
        """Return the versions of packages that a stage was trained with."""
        return f"{self.model(stage)}/software.json"

    def model_machine(self, stage: str) -> str:
        """Return what a stage was trained on."""
        return f"{self.model(stage)}/machine.json"

    def train_log(self, stage: str) -> str:
        return f"{self.model(stage)}/train.jsonl"

    def checkpoints(self, stage: str) -> str:
        return self._path("checkpoints", stage)

    def passage_vectors(self, stage: str, shard: int | str, suffix: str) -> str:
        return self._path("vectors", f"{stage}/passages.{shard}.{suffix}")

    def query_vectors(self, stage: str, split: str, suffix: str) -> str:
        return self._path("vectors", f"{stage}/{split}.{suffix}")

    def encoding_note(self, stage: str, shard: int | str) -> str:
        """Return how long the encoding of a shard of the collection took; no rule waits for it."""
        return self._path("vectors", f"{stage}/speed.passages.{shard}.json")

    # --- rankings

    def index(self, system: str) -> str:
        return self._path("index", system)

    def ranking(self, system: str, part: str) -> str:
        """Return a system's ranking of a split, of a shard of its queries, or of its first passages."""
        return self._path("rankings", f"{system}.{part}.parquet")

    def run(self, system: str, split: str) -> str:
        return self._path("runs", f"{system}.{split}.trec")

    def measures(self, system: str, split: str) -> str:
        return self._path("eval", f"{system}.{split}.json")

    def measures_per_query(self, system: str, split: str) -> str:
        return self._path("eval", f"{system}.{split}.per_query.tsv")

    def query_time(self, system: str) -> str:
        """Return how long a system's searches take, query by query."""
        return self._path("costs", f"{system}.json")

    # --- what a stage trains on

    def pool(self, system: str) -> str:
        return self._path("pools", f"{system}.parquet")

    def pool_note(self, system: str) -> str:
        return self._path("pools", f"{system}.json")

    def drawn(self, stage: str) -> str:
        return self._path("trainsets", f"{stage}/drawn.arrow")

    def drawn_note(self, stage: str) -> str:
        return self._path("trainsets", f"{stage}/drawn.json")

    def dropped(self, stage: str) -> str:
        """Return the candidates of a stage that its judge leaves out."""
        return self._path("trainsets", f"{stage}.candidates/dropped.parquet")

    def dropped_note(self, stage: str) -> str:
        return self._path("trainsets", f"{stage}.candidates/dropped.json")

    def scores(self, stage: str, teacher: str, shard: int | str) -> str:
        """Return a teacher's scores of a stage's drawn passages."""
        return self._path("trainsets", f"{stage}/scores/{teacher}.{shard}.npy")

    def trainset(self, stage: str) -> str:
        return self._path("trainsets", f"{stage}/trainset.arrow")

    # --- report

    @property
    def resolved_recipe(self) -> str:
        return self._path("report", "recipe.json")

    @property
    def page(self) -> str:
        return self._path("report", "index.html")

    @property
    def table(self) -> str:
        return self._path("report", "table.txt")

    @property
    def metrics(self) -> str:
        return self._path("report", "metrics.json")

    @property
    def gate(self) -> str:
        return self._path("report", "gate.json")
