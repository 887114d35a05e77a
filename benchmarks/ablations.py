"""Measure what each ingredient beyond LED adds, one after the other, with several seeds and corrected tests.

    .venv/bin/python benchmarks/ablations.py                                     # the demo's text, cut: ablations.yaml
    .venv/bin/python benchmarks/ablations.py --configfile my.yaml --page my.md   # a collection of yours
    .venv/bin/python benchmarks/ablations.py --configfile config/config.yaml --bow bowdpr/bowdpr_marco --page msmarco.md

The recipe needs the stages den_warmup, lex_continue, led and ranker, and bow unless --bow names a model. The script
adds these stages to it, each the one before with one change:

    led_control   led without its teacher
    led           as the recipe has it
    led_judged    + negatives that the ranker judged
    led_bow       + the start from bag-of-words pre-training
    led_taught    + the ranker as second teacher
    led_again     + negatives that led_taught mined
    led_fused     + reciprocal rank fusion with lex_continue

A seed is a run of `snakemake led_final` in results/<dataset>_ablations_<seed>; what is finished is not made again. The
values of a query are averaged over the seeds before the tests, so that one query counts once; p-values are corrected by
Holm's method over all tests of a collection.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import scale
import yaml
from demo_seeds import average

from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import PerQuery
from led_pipeline.evaluation.significance import bootstrap, compare, holm
from led_pipeline.files.errors import InputError
from led_pipeline.inspection.workflow import command, environment
from led_pipeline.jobs.command import run_main

ROOT = Path(__file__).parents[1]
MEASURE = "MRR@10"
# Stage -> what it adds to the one before.
CHAIN = {
    "led": "LED's teacher",
    "led_judged": "judged negatives",
    "led_bow": "bag-of-words start",
    "led_taught": "ranker as second teacher",
    "led_again": "second round of mining",
    "led_fused": "fusion with LEX",
}
SYSTEMS = ["bm25", "den_warmup", "lex_continue", "ranker", "led_control", *CHAIN]
JUDGE = {"stage": "ranker", "kind": "absolute", "margin": 0.0}
RANKER = {"stage": "ranker", "loss": "kl", "weight": 1.0}


def with_ablations(recipe: Mapping[str, Any], bow: str | None) -> dict[str, Any]:
    """Return a recipe with the stages of the chain.

    Args:
        bow: a model of bag-of-words pre-training, instead of the stage `bow`.

    Raises:
        InputError: the recipe lacks a stage that the chain needs.
    """
    stages = dict(recipe["stages"])
    names = ["den_warmup", "lex_continue", "led", "ranker", *([] if bow else ["bow"])]
    if missing := [name for name in names if name not in stages]:
        raise InputError(f"--configfile: the chain needs the stages {', '.join(missing)}; add them to the recipe")
    led = stages["led"]
    stages["led_control"] = led | {"teachers": []}
    stages["led_judged"] = led | {"judge": JUDGE}
    stages["bow_warmup"] = stages["den_warmup"] | {"init": bow or "bow"}
    stages["led_bow"] = stages["led_judged"] | {"init": "bow_warmup"}
    stages["led_taught"] = stages["led_bow"] | {"teachers": [*led["teachers"], RANKER]}
    stages["led_again"] = stages["led_taught"] | {"negatives": ["led_taught", "lex_continue"]}
    evaluation = recipe.get("evaluation", {}) | {"compare": [["led", "led_control"]], "timed_queries": 0, "gate": False}
    evaluation["side_by_side"] = ["led_control", "led"]
    fused = {"led_fused": {"method": "rrf", "systems": ["led_again", "lex_continue"]}}
    return {**recipe, "stages": stages, "evaluation": evaluation, "fusion": fused, "variants": {}}


def run(recipe: Mapping[str, Any], seed: int, cores: str) -> Path:
    """Run a recipe with a seed, and return the folder of its results."""
    name = f"{recipe['dataset']['name']}_ablations_{seed}"
    seeded = {**recipe, "seed": seed, "dataset": {**recipe["dataset"], "name": name}}
    config = Path("results", f"{name}.yaml")
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(seeded, sort_keys=False), encoding="utf-8")
    line = command(Path(), config.absolute(), "led_final", "--cores", cores)
    subprocess.run(line, check=True, env=environment(LED_VIEW="lines"))
    return Path("results", name)


def measured(folders: Sequence[Path], split: str) -> tuple[dict[str, PerQuery], dict[str, list[float]]]:
    """Return each system's values per query, averaged over the seeds, and its means of the seeds."""
    mean, seeds = {}, {}
    for system in SYSTEMS:
        values = [read_per_query(folder / "eval" / f"{system}.{split}.per_query.tsv") for folder in folders]
        mean[system] = average(values)
        seeds[system] = [float(np.mean([query[MEASURE] for query in each.values()])) for each in values]
    return mean, seeds


def steps(values: Mapping[str, PerQuery], seeds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return each ingredient's difference to the stage before and to LED, with intervals and corrected p-values."""
    names = ["led_control", *CHAIN]
    tests = [
        (name, against)
        for i, name in enumerate(CHAIN, 1)
        for against in dict.fromkeys([names[i - 1], "led" if i > 1 else names[0]])
    ]
    results = {test: compare(values[test[0]], values[test[1]], MEASURE) for test in tests}
    corrected = dict(zip(tests, holm([r.p_randomisation for r in results.values()]), strict=True))
    rows = []
    for name, against in tests:
        difference = np.array([values[name][q][MEASURE] - values[against][q][MEASURE] for q in values[name]])
        low, high = bootstrap(difference[:, None])[0]
        gains = [a - b for a, b in zip(seeds[name], seeds[against], strict=True)]
        result = results[name, against]
        rows.append(
            {
                "stage": name,
                "adds": CHAIN[name],
                "against": against,
                "difference": result.difference,
                "low": float(low),
                "high": float(high),
                "p": corrected[name, against],
                "seeds": gains,
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]], seeds: Mapping[str, Sequence[float]]) -> str:
    """Return the tables of a collection in Markdown."""
    lines = ["| system | MRR@10, mean of the seeds | each seed |", "|---|---|---|"]
    for system, means in seeds.items():
        lines.append(f"| `{system}` | {np.mean(means):.4f} | {', '.join(f'{m:.4f}' for m in means)} |")
    lines += ["", "| stage | adds | against | difference | 95 % interval | p (Holm) | each seed |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
        lines.append(
            f"| `{row['stage']}` | {row['adds']} | `{row['against']}` | {row['difference']:+.4f} | {interval} |"
            f" {row['p']:.4f} | {', '.join(f'{g:+.4f}' for g in row['seeds'])} |"
        )
    return "\n".join(lines)


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what helped, what hurt, and what made no difference that the test sees, in sentences."""
    kinds: dict[str, list[str]] = {"helped": [], "hurt": [], "made no significant difference": []}
    before = ["led_control", *CHAIN]
    for row in rows:
        if row["against"] != before[before.index(row["stage"]) - 1]:
            continue  # the comparison with LED
        kind = "made no significant difference" if row["p"] > 0.05 else "helped" if row["difference"] > 0 else "hurt"
        kinds[kind].append(row["adds"])
    return "\n".join(f"- {kind}: {', '.join(names) or 'none'}" for kind, names in kinds.items())


def plot(sections: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """Draw each ingredient's difference to the stage before it, with its interval."""
    before = ["led_control", *CHAIN]
    points = [
        {"collection": name, **{key: row[key] for key in ("adds", "difference", "low", "high")}}
        for name, rows in sections
        for row in rows
        if row["against"] == before[before.index(row["stage"]) - 1]
    ]
    base = alt.Chart(alt.InlineData(values=points))
    y = alt.Y("adds:N", sort=list(CHAIN.values()), title=None, axis=alt.Axis(labelLimit=240))
    bars = base.mark_rule(strokeWidth=2).encode(y=y, x=alt.X("low:Q", title=f"difference of {MEASURE}"), x2="high:Q")
    dots = base.mark_point(filled=True, size=70).encode(y=y, x="difference:Q")
    zero = base.mark_rule(strokeDash=[4, 4], color="#888").encode(x=alt.datum(0))
    chart = alt.layer(zero, bars, dots).properties(width=420, height=170).facet(row=alt.Row("collection:N", title=None))
    path.parent.mkdir(parents=True, exist_ok=True)
    chart.save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, nargs="+", default=[ROOT / "benchmarks/ablations.yaml"])
    parser.add_argument("--bow", help="a model of bag-of-words pre-training, instead of the stage bow")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--split", default="dev")
    parser.add_argument("--cores", default="all", help="Snakemake's --cores")
    parser.add_argument("--page", type=Path, default=Path("ablations.md"), help="the tables, with a picture beside it")
    a = parser.parse_args()
    sections, parts = [], []
    for config in a.configfile:
        recipe = with_ablations(yaml.safe_load(config.read_text(encoding="utf-8")), a.bow)
        folders = [run(recipe, seed, a.cores) for seed in a.seeds]
        values, seeds = measured(folders, a.split)
        rows, name = steps(values, seeds), recipe["dataset"]["name"]
        sections.append((name, rows))
        count = len(values["led"])
        parts += [f"## {name}", "", f"`{config}`, {count:,} queries of `{a.split}`, seeds {a.seeds}.", ""]
        parts += [verdict(rows), "", table(rows, seeds), ""]
        (Path("results") / f"{name}_ablations.json").write_text(json.dumps({"steps": rows, "seeds": seeds}, indent=1))
    picture = a.page.with_suffix(".svg")
    plot(sections, picture)
    typed = " ".join(["python", *sys.argv])
    facts = ", ".join(f"{key} {value}" for key, value in scale.machine(os.cpu_count() or 1).items())
    head = [f"`{typed}` ({facts}).", "", f"![differences of the ingredients]({picture.name})", ""]
    a.page.write_text("\n".join([*head, *parts]), encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    run_main(main)
