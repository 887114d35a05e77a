"""Repeat a recipe with several seeds and compare its systems, pair by pair, on the same queries.

    .venv/bin/python benchmarks/demo_seeds.py [--seeds 42 43 44] [--pair led den_mixed --pair led den_continue]

Every seed is a separate run of `snakemake led_final`: results/<dataset> for the recipe's seed (for the demo, the output
of `make demo`), results/<dataset>_seed<seed> for the others. Finished files are not made again. The seed decides the
order of the examples, the drawn negatives and the models' random numbers, not the data. The default pairs are those of
the recipe's `evaluation.compare`. The first table has each system's mean MRR@10 per seed, the second each pair's
difference and the randomisation test of `led_pipeline.evaluation.significance`, paired by query; its lines `mean`
average each query's values over the seeds first, so that one query counts once.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.evaluation.significance import compare

MEASURE = "MRR@10"
ALL = "mean"


def run(config: Path, seed: int) -> tuple[Path, float]:
    """Run the recipe with a seed; return its results folder and how long that took in seconds."""
    recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
    name, seed_config = recipe["dataset"]["name"], config
    if seed != recipe["seed"]:
        name = f"{name}_seed{seed}"
        recipe["seed"], recipe["dataset"]["name"] = seed, name
        seed_config = Path("results", f"{name}.yaml")
        seed_config.parent.mkdir(exist_ok=True)
        seed_config.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = ["snakemake", "led_final", "--cores", "all", "--quiet", "rules", "--configfile", str(seed_config)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL)
    return Path("results", name), time.monotonic() - started


def average(seeds: list[PerQuery]) -> PerQuery:
    """Return each query's mean value over the seeds."""
    return {qid: {MEASURE: float(np.mean([system[qid][MEASURE] for system in seeds]))} for qid in seeds[0]}


def means(measured: dict[str, dict[str, PerQuery]], seconds: dict[str, float]) -> list[str]:
    """Return the table of the systems' means, a line per seed and one of the seeds' mean and standard deviation."""
    value = {
        seed: [np.mean([q[MEASURE] for q in s.values()]) for s in systems.values()]
        for seed, systems in measured.items()
    }
    lines = [" ".join([f"{'seed':<6}", *(f"{name:>12.12}" for name in next(iter(measured.values()))), "  seconds"])]
    for seed, row in value.items():
        took = f"{seconds[seed]:9.0f}" if seed in seconds else ""
        lines.append(" ".join([f"{seed:<6}", *(f"{v:12.4f}" for v in row), took]).rstrip())
    rows = np.array([row for seed, row in value.items() if seed != ALL])
    if len(rows) > 1:
        lines.append(" ".join([f"{'sd':<6}", *(f"{v:12.4f}" for v in rows.std(axis=0, ddof=1))]))
    return lines


def differences(measured: dict[str, dict[str, PerQuery]], pairs: list[tuple[str, str]]) -> list[str]:
    """Return the table of the pairs' differences, a line per pair and seed and one of the queries' means."""
    width = max(len(f"{first} - {second}") for first, second in pairs)
    lines = [f"{'pair':<{width}} seed   difference          p  better/worse/equal"]
    for first, second in pairs:
        for seed, systems in measured.items():
            test = compare(systems[first], systems[second], MEASURE)
            counts = f"{test.wins}/{test.losses}/{test.ties}"
            pair = f"{first} - {second}"
            lines.append(f"{pair:<{width}} {seed:<6} {test.difference:+10.4f} {test.p_randomisation:10.5f}  {counts}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the systems of a recipe over several seeds.")
    parser.add_argument("--configfile", type=Path, default=Path("config/demo.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--pair", nargs=2, action="append", metavar=("FIRST", "SECOND"))
    parser.add_argument("--split", default="dev")
    a = parser.parse_args()
    pairs = a.pair or yaml.safe_load(a.configfile.read_text(encoding="utf-8"))["evaluation"]["compare"]
    systems = list(dict.fromkeys(name for pair in pairs for name in pair))
    measured: dict[str, dict[str, PerQuery]] = {}
    seconds: dict[str, float] = {}
    for seed in map(str, a.seeds):
        results, seconds[seed] = run(a.configfile, int(seed))
        files = {name: results / "eval" / f"{name}.{a.split}.per_query.tsv" for name in systems}
        measured[seed] = {name: read_per_query(path) for name, path in files.items()}
        print(f"seed {seed} is done", file=sys.stderr)
    measured[ALL] = {name: average([measured[str(seed)][name] for seed in a.seeds]) for name in systems}
    print("\n".join([f"{MEASURE}, {a.split}", "", *means(measured, seconds), "", *differences(measured, pairs)]))


if __name__ == "__main__":
    main()
