"""The report's numbers: everything that a run measured, counted and used, gathered from its files.

A piece that is missing (a system not evaluated on a split, a stage that is not trained) is None, never 0.
"""

from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from led_pipeline.data.tables import count_rows
from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import within
from led_pipeline.evaluation.published import Published, beside_ours
from led_pipeline.evaluation.significance import compare
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.graph import Recipe
from led_pipeline.report.log import TrainLog, read_train_log
from led_pipeline.versions import VERSIONS, installed


def _json_if_there(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def evaluations(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return per evaluated split its number of queries, its grade cut and each system's measures."""
    splits = {}
    for split in recipe.evaluation.splits:
        systems = {name: _json_if_there(results / "eval" / f"{name}.{split}.json") for name in recipe.systems}
        counts = {entry["queries"] for entry in systems.values() if entry}
        splits[split] = {
            "queries": max(counts) if counts else None,
            "relevant_from": recipe.dataset.splits[split].relevant_from,
            "systems": systems,
        }
    return splits


def compared(measures: list[str]) -> list[str]:
    """Return the measures of a paired comparison: those at the top of a ranking, and its deepest recall."""
    return [name for name in measures if name.endswith("@10")] + [m for m in measures if m.startswith("recall")][-1:]


def comparisons(recipe: Recipe, results: Path) -> list[dict[str, Any]]:
    """Return the paired comparisons that the recipe asks for, where both systems were evaluated."""
    found = []
    for split, pair in product(recipe.evaluation.splits, recipe.evaluation.compare):
        paths = [results / "eval" / f"{system}.{split}.per_query.tsv" for system in pair]
        if all(path.exists() for path in paths):
            a, b = (read_per_query(path) for path in paths)
            for measure in compared(within(recipe.evaluation.depth)):
                test = compare(a, b, measure, seed=recipe.seed)
                found.append({"split": split, "a": pair[0], "b": pair[1], "measure": measure, **vars(test)})
    return found


def train_logs(recipe: Recipe, results: Path) -> dict[str, TrainLog]:
    """Return the training log of every stage that has one, in the order of the recipe."""
    paths = {name: results / "models" / name / "train.jsonl" for name in recipe.order()}
    return {name: read_train_log(path) for name, path in paths.items() if path.exists()}


def provenance(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return where the data came from: the provenance files beside the prepared data, and what the models record."""
    names = ["passages", *recipe.dataset.splits]
    return {
        "source": _json_if_there(results / "source" / "source.json"),
        "prepared": {name: _json_if_there(results / "prepared" / f"{name}.json") for name in names},
        "models": {name: _json_if_there(results / "models" / name / "led.json") for name in recipe.order()},
    }


def software(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return the versions of Python, of the packages that results depend on, and of the pipeline's own steps.

    Under `trained` stand the stages that were trained with other versions, and these.
    """
    now, trained = installed(), {}
    for name in recipe.order():
        then = _json_if_there(results / "models" / name / "software.json") or {}
        if other := {package: version for package, version in then.items() if now.get(package) != version}:
            trained[name] = other
    return {"python": now.pop("python"), "packages": now, "steps": dict(VERSIONS), "trained": trained}


def settings(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return the settings of every stage, what it takes from the recipe filled in, without those of the machine."""
    found = {}
    for name in recipe.order():
        stage = recipe.stages[name]
        values = stage.model_dump(mode="json", exclude={"resources", "checkpoint_min"})
        values["seed"] = recipe.seed if stage.seed is None else stage.seed
        if "tokenizer" in values:
            values["tokenizer"] = recipe.tokenizer_of(name)
        found[name] = values
    return found


def gather(recipe: Recipe, results: Path, published: Published | None, logs: dict[str, TrainLog]) -> dict[str, Any]:
    """Return all numbers of the report as one JSON-serialisable value."""
    splits = evaluations(recipe, results)
    passages = results / "prepared" / "passages.parquet"
    return {
        "dataset": recipe.dataset.name,
        "date": date.today().isoformat(),
        "passages": count_rows(passages) if passages.exists() else None,
        "measures": within(recipe.evaluation.depth),
        "splits": splits,
        "comparisons": comparisons(recipe, results),
        "published": beside_ours(published, splits) if published else None,
        "training": {name: log.summary() for name, log in logs.items()},
        "settings": settings(recipe),
        "provenance": provenance(recipe, results),
        "software": software(recipe, results),
    }
