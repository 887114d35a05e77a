"""The summary of several runs: each system's measures on every dataset and their mean over the datasets, as in BEIR.

Read from the folders that finished runs left: `report/recipe.json`, `eval/` and the prepared qrels. The capped recall
divides the relevant passages found by at most as many as the cut-off lets through: a query with 300 relevant passages
can reach 1 within the first 100.

Source: BEIR (arXiv:2104.08663), nDCG@10 and capped recall@100; the mean is over datasets, not over queries.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from led_pipeline.columns import aligned
from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.dataset import NO_QRELS
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.stages import FAMILIES
from led_pipeline.report.text import number

MEASURES = ("nDCG@10", "recall@100", "recall_cap@100", "FLOPS")
CUT = 100
RANKLESS = [name for name, family in FAMILIES.items() if family.output is None]


def capped_recall(recall: float, relevant: int, cut: int = CUT) -> float:
    """Return the capped recall of a query from its recall at the same cut-off; 0 where nothing is relevant."""
    return recall * relevant / min(relevant, cut) if relevant else 0.0


def system_measures(results: Path, system: str, split: str, relevant_from: int) -> dict[str, float | None]:
    """Return the measures of one system on one split; None where its ranking or its kind does not tell.

    Raises:
        InputError: the system was not measured, or not by these measures.
    """
    layout = Layout(results)
    path = Path(layout.measures(system, split))
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the pipeline on this dataset to its end first")
    entry, per_query = read_json(path), read_per_query(Path(layout.measures_per_query(system, split)))
    if missing := [name for name in ("nDCG@10", "recall@100") if name not in entry["measures"]]:
        raise InputError(
            f"{path}: no {' and no '.join(missing)} in it, which the summary needs; add it to evaluation.measures"
            " of the recipe and run the pipeline again"
        )
    qrels = load_qrels(Path(layout.qrels(split)))
    counts = {qid: sum(grade >= relevant_from for grade in grades.values()) for qid, grades in qrels.items()}
    capped = [capped_recall(values["recall@100"], counts[qid]) for qid, values in per_query.items()]
    return {
        "nDCG@10": entry["measures"]["nDCG@10"],
        "recall@100": entry["measures"]["recall@100"],
        "recall_cap@100": sum(capped) / len(capped),
        "FLOPS": entry.get("sparsity", {}).get("flops"),
    }


def summary(folders: Sequence[Path], split: str | None = None) -> dict[str, Any]:
    """Return per dataset and system the measures, and per system their means over all datasets.

    Args:
        folders: results folders, one per dataset.
        split: which split of each; the first with judgements that its recipe evaluates unless given.

    Raises:
        InputError: a folder holds no finished run, lacks the split, or two folders hold the same dataset.
    """
    datasets: dict[str, dict[str, Any]] = {}
    for folder in folders:
        recipe = Path(Layout(folder).resolved_recipe)
        if not recipe.is_file():
            raise InputError(f"{folder}: expected the results of a finished run, there is no report/recipe.json in it")
        resolved = read_json(recipe)
        name, splits = resolved["dataset"]["name"], resolved["evaluation"]["splits"]
        splits = [name for name in splits if _is_judged(resolved["dataset"]["splits"], name)]
        measured_split = split or next(iter(splits), None)
        if measured_split is None or measured_split not in splits:
            raise InputError(
                f"{folder}: no evaluated split '{measured_split}' with judgements; there are"
                f" {', '.join(splits) or 'none'}"
            )
        if name in datasets:
            raise InputError(f"{folder}: the dataset '{name}' is in the summary already, name each folder once")
        if resolved["evaluation"]["depth"] < CUT:
            raise InputError(f"{folder}: its rankings end at {resolved['evaluation']['depth']}, recall needs {CUT}")
        systems = [*_systems(resolved, measured_split), *resolved.get("variants", {})]
        grade = resolved["dataset"]["splits"][measured_split]["relevant_from"]
        measured = {system: system_measures(folder, system, measured_split, grade) for system in systems}
        datasets[name] = {"split": measured_split, "systems": measured}
    return {"datasets": datasets, "means": means(datasets)}


def _systems(resolved: dict[str, Any], split: str) -> list[str]:
    """Return the systems that rank a split; what is made of a run without a file for it does not."""
    runs, fusions = resolved["dataset"].get("runs", {}), resolved.get("fusion", {})
    stages = [name for name, stage in resolved["stages"].items() if stage["family"] not in RANKLESS]

    def ranks(system: str) -> bool:
        if system in runs:
            return split in runs[system]
        rerank = resolved["stages"].get(system, {}).get("rerank")
        return all(map(ranks, fusions.get(system, {}).get("systems", [rerank["system"]] if rerank else [])))

    return list(filter(ranks, ["bm25", *runs, *stages, *fusions]))


def _is_judged(splits: dict[str, Any], name: str) -> bool:
    return splits[splits[name].get("sample_of") or name].get("qrels") != NO_QRELS


def means(datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return each system's mean over the datasets; None where one of them has no value for it."""
    systems = dict.fromkeys(system for entry in datasets.values() for system in entry["systems"])
    averages: dict[str, dict[str, float | None]] = {}
    for system in systems:
        rows = [entry["systems"].get(system, {}) for entry in datasets.values()]
        columns = {measure: [row.get(measure) for row in rows] for measure in MEASURES}
        averages[system] = {m: None if None in values else sum(values) / len(values) for m, values in columns.items()}
    return averages


def summary_text(result: dict[str, Any]) -> str:
    """Return one table per measure: a row per dataset, a column per system, and the means below."""
    blocks = []
    for measure in MEASURES:
        if all(row[measure] is None for entry in result["datasets"].values() for row in entry["systems"].values()):
            continue
        rows = [[measure, "split", *result["means"]]]
        for name, entry in result["datasets"].items():
            cells = [number(entry["systems"].get(system, {}).get(measure)) for system in result["means"]]
            rows.append([name, entry["split"], *cells])
        rows.append(["mean", "", *(number(values[measure]) for values in result["means"].values())])
        blocks.append(aligned(rows, left=2))
    return "\n\n".join(blocks) + "\n"
