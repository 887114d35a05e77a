"""The report's numbers: everything that a run measured, counted and used, gathered from its files.

A piece that is missing (a system not evaluated on a split, a stage that is not trained) is None, never 0.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from led_pipeline.data.tables import count_rows
from led_pipeline.evaluation.published import Published, beside_ours, published_about
from led_pipeline.files.reading import read_json
from led_pipeline.recipe import needs, scorers, starts
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.report.comparisons import Tables, columns, compare_all
from led_pipeline.report.costs import costs
from led_pipeline.report.log import TrainLog, read_train_log
from led_pipeline.report.timeline import by_stage, jobs, totals
from led_pipeline.versions import VERSIONS, commit, installed


def _json_if_there(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def evaluations(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return per evaluated split its number of queries, its grade cut, each system's measures, and where its run is.

    A split without judgements has no measures and no grade cut.
    """
    layout, splits = Layout(results), {}
    for split in recipe.evaluation.splits:
        judged = bool(recipe.dataset.qrels_of(split))
        ranked = {name for name, at in needs.evaluated(recipe) if at == split}
        files = {name: Path(layout.measures(name, split)) for name in needs.systems(recipe)}
        systems = {name: _json_if_there(path) if judged and name in ranked else None for name, path in files.items()}
        counts = {entry["queries"] for entry in systems.values() if entry}
        queries = Path(layout.queries(split))
        runs = {name: layout.run(name, split) for name in files if name in ranked}
        splits[split] = {
            "queries": max(counts) if counts else count_rows(queries) if not judged and queries.exists() else None,
            "judged": judged,
            "relevant_from": recipe.dataset.splits[split].relevant_from if judged else None,
            "systems": systems,
            "runs": {name: path for name, path in runs.items() if Path(path).exists()},
        }
    return splits


def train_logs(recipe: Recipe, results: Path) -> dict[str, TrainLog]:
    """Return the training log of every stage that has one, in the order of the recipe."""
    paths = {name: Path(Layout(results).train_log(name)) for name in needs.order(recipe)}
    return {name: read_train_log(path) for name, path in paths.items() if path.exists()}


def provenance(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return where the data came from: the provenance files beside the prepared data, and what the models record."""
    layout, names = Layout(results), ["passages", *recipe.dataset.splits]
    return {
        "source": _json_if_there(Path(layout.source_note)),
        "prepared": {name: _json_if_there(Path(layout.prepared_note(name))) for name in names},
        "models": {name: _json_if_there(Path(layout.model_note(name))) for name in needs.order(recipe)},
        "machines": {name: _json_if_there(Path(layout.model_machine(name))) for name in needs.order(recipe)},
        "commit": commit(),
    }


def software(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return the versions of Python, of the packages that results depend on, and of the pipeline's own steps.

    `trained` has the stages that were trained with other versions, and those versions.
    """
    now = installed()
    trained: dict[str, dict[str, Any]] = {}
    for name in needs.order(recipe):
        then = _json_if_there(Path(Layout(results).model_software(name))) or {}
        if other := {package: version for package, version in then.items() if now.get(package) != version}:
            trained[name] = other
    return {"python": now.pop("python"), "packages": now, "steps": dict(VERSIONS), "trained": trained}


def judged(recipe: Recipe, results: Path) -> dict[str, Any]:
    """Return how many candidates the judge of every stage that has one has dropped (data.judge)."""
    notes = {name: _json_if_there(Path(Layout(results).dropped_note(name))) for name in scorers.judged(recipe)}
    return {name: note for name, note in notes.items() if note}


def settings(recipe: Recipe, results: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of every stage, without those of the machine.

    What a stage takes from the recipe is filled in, and what it took from the model that it starts from.
    """
    by_stage = {}
    for name in needs.order(recipe):
        stage = recipe.stages[name]
        values = stage.model_dump(mode="json", exclude={"resources", "checkpoint_min"})
        values["seed"] = recipe.seed if stage.seed is None else stage.seed
        if "tokenizer" in values:
            values["tokenizer"] = recipe.tokenizer_of(name)
        saved = _json_if_there(Path(Layout(results).model_note(name))) or {}
        values |= {key: saved[key] for key in starts.adoptable(recipe, name) if key in saved}
        by_stage[name] = values
    return by_stage


def about_the_dataset(
    recipe: Recipe, results: Path, splits: dict[str, Any], sections: Sequence[Published]
) -> list[dict[str, Any]] | None:
    """Return the published numbers that belong to a dataset of this content, beside ours; None if there are none."""
    note = _json_if_there(Path(Layout(results).prepared_note("passages")))
    queries = {split: entry["queries"] for split, entry in splits.items() if entry["judged"]}
    match = published_about(sections, note["counts"]["passages"] if note else None, queries)
    return beside_ours(match[0], splits, match[1], recipe.evaluation.depth) if match else None


def gather(
    recipe: Recipe, results: Path, sections: Sequence[Published], logs: dict[str, TrainLog], tables: Tables
) -> dict[str, Any]:
    """Return all numbers of the report as one JSON-serialisable value.

    Args:
        sections: published numbers of any datasets.
        logs: of the stages.
        tables: measures per query.
    """
    splits = evaluations(recipe, results)
    compared = compare_all(recipe, tables)
    for split, entry in splits.items():
        entry["intervals"] = compared.intervals.get(split, {})
    done = jobs(recipe, results, logs)
    passages = Path(Layout(results).passages)
    return {
        "dataset": recipe.dataset.name,
        "date": date.today().isoformat(),
        "passages": count_rows(passages) if passages.exists() else None,
        "measures": columns(recipe.evaluation),
        "headline": compared.first,
        "splits": splits,
        "comparisons": compared.tests,
        "published": about_the_dataset(recipe, results, splits, sections),
        "costs": costs(recipe, results),
        "run": totals(done),
        "stages": by_stage(recipe, results, done),
        "training": {name: log.summary() for name, log in logs.items()},
        "judged": judged(recipe, results),
        "settings": settings(recipe, results),
        "provenance": provenance(recipe, results),
        "software": software(recipe, results),
    }
