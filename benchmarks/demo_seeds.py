"""Repeat a recipe with several seeds and compare two of its systems on the same queries.

    .venv/bin/python benchmarks/demo_seeds.py [--seeds 42 43 44] [--pair led den_continue]

Every seed is a run of its own, made by `snakemake led_final`: results/<dataset> for the recipe's seed (for the demo
what `make demo` has made), results/<dataset>_seed<seed> for the others. What is finished is not made again. The seed
decides the order of the examples, the negatives drawn and the models' random numbers, not the data. The table says per
seed both systems' mean MRR@10 and the paired tests of `led_pipeline.evaluate`; the last line averages each query's
values over the seeds first, so that one query counts once.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from led_pipeline.evaluate import PerQuery, compare, read_per_query

MEASURE = "MRR@10"


def run(config: Path, seed: int) -> tuple[Path, float]:
    """Run the recipe with a seed; return its results folder and how long that took in seconds."""
    recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
    name, own = recipe["dataset"]["name"], config
    if seed != recipe["seed"]:
        name = f"{name}_seed{seed}"
        recipe["seed"], recipe["dataset"]["name"] = seed, name
        own = Path("results", f"{name}.yaml")
        own.parent.mkdir(exist_ok=True)
        own.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = ["snakemake", "led_final", "--cores", "all", "--quiet", "rules", "--configfile", str(own)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL)
    return Path("results", name), time.monotonic() - started


def line(label: str, first: PerQuery, second: PerQuery, seconds: float | None) -> str:
    """Return one row of the table."""
    result = compare(first, second, MEASURE)
    took = f"{seconds:9.0f}" if seconds is not None else ""
    return (
        f"{label:<6} {result.mean_a:9.4f} {result.mean_b:9.4f} {result.difference:+11.4f}"
        f" {result.p_randomisation:10.5f} {took}".rstrip()
    )


def average(systems: list[PerQuery]) -> PerQuery:
    """Return each query's mean value over the seeds."""
    return {qid: {MEASURE: float(np.mean([system[qid][MEASURE] for system in systems]))} for qid in systems[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two systems of a recipe over several seeds.")
    parser.add_argument("--configfile", type=Path, default=Path("config/demo.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--pair", nargs=2, default=["led", "den_continue"], metavar=("FIRST", "SECOND"))
    parser.add_argument("--split", default="dev")
    a = parser.parse_args()
    first, second = a.pair
    print(f"{MEASURE}, {a.split}\n{'seed':<6} {first:>9.9} {second:>9.9} {'difference':>11} {'p':>10}   seconds")
    found: tuple[list[PerQuery], list[PerQuery]] = ([], [])
    for seed in a.seeds:
        results, seconds = run(a.configfile, seed)
        pair = [read_per_query(results / "eval" / f"{name}.{a.split}.per_query.tsv") for name in a.pair]
        for kept, system in zip(found, pair, strict=True):
            kept.append(system)
        print(line(str(seed), *pair, seconds), flush=True)
    print(line("mean", average(found[0]), average(found[1]), None))


if __name__ == "__main__":
    main()
