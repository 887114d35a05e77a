"""A rehearsal of LED on MS MARCO at full size: every step on the processor, run by Snakemake itself.

Run as `python benchmarks/rehearsal.py`; `--help` names the options. The collection is synthetic (module `synthetic`),
with MS MARCO's numbers of passages and queries and its lengths. Snakemake runs the jobs of the recipe, from the
published formats to the report. What only GPUs make is made up between the runs: models, vectors, and the rankings of
the shards of a search but the first. Times and memory are those that Snakemake's `benchmark` measured of each job.

It can be interrupted and started again: what is finished stays, as in every run.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import scale
import synthetic
import yaml
from processes import disk_bytes

from led_pipeline.recipe.layout import Layout

ROOT = Path(__file__).parents[1]
PASSAGES = 8_841_823
SHARDS = scale.SHARDS
IMPORTED = {"init": "nowhere/model", "tokenizer": "tokenizer", "validation": False, "train": False}
TRAINED = {"init": "den", "tokenizer": "tokenizer", "validation": False, "epochs": 3, "batch_size": 16}
MODELS = ("den", "lex", "led")
VECTORS = {"den": "npy", "lex": "arrow", "led": "npy"}


def recipe(engine: str, threads: int) -> dict:
    """Return the recipe: LED's student with negatives of four systems and a lexicon teacher."""
    kinds = ("cpu", "search", "encode", "train", "score")
    return {
        "dataset": scale.RECIPE["dataset"] | {"name": "rehearsal"},
        "tokenizer": "tokenizer",
        "bm25": {"k1": 0.82, "b": 0.68},
        **({} if engine == "anserini" else {"search": {"lexicon": engine}}),
        "evaluation": {"splits": ["dev"], "compare": [["led", "den"], ["led", "lex"]], "timed_queries": 0},
        "resources": {kind: {"threads": threads} for kind in kinds},
        "stages": {
            "den": IMPORTED | {"family": "dense"},
            "lex": IMPORTED | {"family": "lexicon"},
            "led": TRAINED
            | {
                "family": "dense",
                "negatives": ["bm25", "lex", "den", "published"],
                "negatives_per_query": 32,
                "teachers": [{"stage": "lex", "loss": "rank"}],
            },
        },
    }


class Rehearsal:
    """The folder of a rehearsal, and its runs of Snakemake."""

    def __init__(self, folder: Path, passages: int, threads: int, engine: str):
        self.folder, self.passages, self.threads = folder, passages, threads
        self.results = folder / "results" / "rehearsal"
        self.layout = Layout(str(Path("results/rehearsal")))
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT / "src"),
            "HF_HUB_OFFLINE": "1",
            "LED_PREFLIGHT": "warn",  # the models are nowhere
            "LED_VIEW": "lines",
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe(engine, threads)))

    def once(self, name: str, make: Callable[[], None]) -> None:
        """Make something that no job makes, unless an earlier call of the script has made it."""
        note = self.folder / f".{name}"
        if not note.exists():
            started = time.monotonic()
            make()
            note.touch()
            print(f"made up: {name}, {time.monotonic() - started:,.0f} s", flush=True)

    def snakemake(self, *targets: str) -> None:
        """Run Snakemake for some files under the results."""
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            str(self.threads),
            "--snakefile",
            str(ROOT / "Snakefile"),
        ]
        command += ["--configfile", "recipe.yaml", "--rerun-triggers", "mtime", "--"]
        paths = [f"results/rehearsal/{target}" for target in targets]
        started = time.monotonic()
        answer = subprocess.run([*command, *paths], cwd=self.folder, env=self.environment)
        if answer.returncode:
            raise SystemExit(answer.returncode)
        print(f"{', '.join(targets)[:100]}: {time.monotonic() - started:,.0f} s", flush=True)

    def measured(self) -> dict[str, dict[str, float]]:
        """Return what Snakemake measured of each job that has run, by the name of its log."""
        jobs = {}
        folder = self.results / "benchmarks"
        for path in sorted(folder.rglob("*.tsv")):
            row = next(csv.DictReader(path.open(), delimiter="\t"))
            numbers = {
                "wall_s": row["s"],
                "cpu_s": row["cpu_time"],
                "private_mb": row["max_uss"],
                "rss_mb": row["max_rss"],
            }
            name = str(path.relative_to(folder).with_suffix(""))
            jobs[name] = {key: float(value) if value not in ("NA", "-") else 0.0 for key, value in numbers.items()}
        return jobs


def splits_of(folder: Path) -> dict[str, int]:
    """Return the number of queries of each split of a source folder."""
    return {split: sum(1 for _ in (folder / f"queries.{split}.tsv").open()) for split in ("train", "dev")}


def make_up_models(results: Path) -> None:
    """Write the folders of models, with a short log of a training, as far as the report reads them."""
    for name in MODELS:
        folder = results / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [{"step": step, "loss": 2.0 - step / 100_000, "lr": 5e-6} for step in range(0, 94_000, 2_000)]
        (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_up_vectors(results: Path, passages: int, splits: dict[str, int]) -> None:
    """Write the vectors of the two teachers."""
    scale.make_up(results, passages, splits)


def rehearse(run: Rehearsal, passages: int) -> None:
    """Run every step, in the order in which their inputs are there."""
    source, results = run.folder / "source", run.results
    run.once(
        "source", lambda: (synthetic.write_source(source, passages), synthetic.save_tokenizer(run.folder / "tokenizer"))
    )
    splits = splits_of(source)
    tokens = scale.TOKENS
    run.snakemake(
        "prepared/passages.parquet",
        *(f"prepared/{split}.queries.parquet" for split in splits),
        *(f"{tokens}/passages.{shard}.arrow" for shard in range(SHARDS)),
        *(f"{tokens}/{split}.arrow" for split in splits),
    )
    run.snakemake("index/bm25")
    run.snakemake("rankings/bm25.train.0.parquet", "rankings/bm25.dev.parquet")
    others = lambda system: scale.make_up_rankings(results, f"rankings/{system}.train.0.parquet", passages, splits, 1)  # noqa: E731
    run.once("bm25.train", lambda: others("bm25"))
    run.once("models", lambda: make_up_models(results))
    run.once("vectors", lambda: make_up_vectors(results, passages, splits))
    run.snakemake("index/lex")
    run.snakemake("rankings/lex.train.0.parquet", "rankings/lex.dev.parquet")
    run.once("lex.train", lambda: others("lex"))
    run.snakemake("rankings/den.dev.parquet")
    run.once("den.train", lambda: scale.make_up_rankings(results, "rankings/den.train.0.parquet", passages, splits, 0))
    run.snakemake(*(f"pools/{system}.parquet" for system in ("bm25", "lex", "den", "published")))
    run.snakemake("trainsets/led/drawn.arrow")
    run.snakemake("trainsets/led/trainset.arrow")
    run.once("led", lambda: finish_training(results, passages, splits))
    run.snakemake("report/index.html")


def finish_training(results: Path, passages: int, splits: dict[str, int]) -> None:
    """Make up what follows LED's training: the model is newer than its trainset, its ranking newer than the model."""
    os.utime(results / "models/led")
    scale.make_up_rankings(results, "rankings/led.dev.parquet", passages, splits, 0)


def table(run: Rehearsal) -> str:
    """Return what the jobs took; of jobs of one kind their number, the sums of their seconds and the largest memory."""
    kinds: dict[str, list[dict[str, float]]] = {}
    for name, values in run.measured().items():
        parts = name.split(".")
        kinds.setdefault(".".join("N" if part.isdigit() else part for part in parts), []).append(values)
    lines = ["| job | jobs | wall s | CPU s | private memory, one job |", "|---|---|---|---|---|"]
    for kind, jobs in kinds.items():
        wall, cpu = (sum(job[key] for job in jobs) for key in ("wall_s", "cpu_s"))
        lines.append(
            f"| {kind} | {len(jobs)} | {wall:,.0f} | {cpu:,.0f} | {max(j['private_mb'] for j in jobs):,.0f} MB |"
        )
    return "\n".join(lines)


def disk_table(results: Path, folders: Iterable[str]) -> str:
    """Return the bytes of some folders under the results."""
    rows = [f"| {name} | {disk_bytes(results / name) / 1e9:,.2f} GB |" for name in folders]
    return "\n".join(["| folder | disk |", "|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=PASSAGES)
    parser.add_argument("--folder", type=Path, default=Path("rehearsal"), help="for the data: 60 GB at full size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--lexicon", choices=["anserini", "exact"], default="exact", help="the engine of lexicon stages"
    )
    parser.add_argument("--table", action="store_true", help="print what has run so far, and run nothing")
    a = parser.parse_args()
    run = Rehearsal(a.folder.resolve(), a.passages, a.threads, a.lexicon)
    started = time.monotonic()
    if not a.table:
        rehearse(run, a.passages)
    folders = sorted(path.name for path in run.results.iterdir() if path.is_dir())
    text = f"{table(run)}\n\n{disk_table(run.results, folders)}\n"
    note = {"passages": a.passages, "machine": scale.machine(a.threads), "jobs": run.measured()}
    (a.folder / "rehearsal.json").write_text(json.dumps(note, indent=1) + "\n")
    (a.folder / "rehearsal.md").write_text(text)
    print(f"{text}\n{time.monotonic() - started:,.0f} s in this call")


if __name__ == "__main__":
    main()
