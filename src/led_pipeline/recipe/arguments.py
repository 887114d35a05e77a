"""Arguments: what the rules put on the command lines of their jobs, quoted for the shell. Imports no torch."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from led_pipeline.recipe import needs, starts
from led_pipeline.recipe.dataset import OF_RUNS, Dataset, ScoreFile
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.measures import MEASURES
from led_pipeline.recipe.needs import Files
from led_pipeline.recipe.variants import Variant


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def option(name: str, *values: Any) -> str:
    """Return an option of a command with its values, quoted.

    Snakemake compares the values of all params of a rule as one set, so none may be mistaken for another's; and no path
    or text of the user's may mean something to the shell.
    """
    return shlex.join([name, *map(str, values)])


def option_if(name: str, values: Iterable[Any]) -> str:
    """Return an option with its values, or nothing if there are none."""
    values = list(values)
    return option(name, *values) if values else ""


def _options(files: Mapping[str, str | list[str]]) -> str:
    """Return an option for each kind of files, with the paths as its values."""
    return " ".join(
        option(f"--{name.replace('_', '-')}", *([paths] if isinstance(paths, str) else paths))
        for name, paths in files.items()
    )


# --- the dataset


def template(dataset: Dataset, side: Literal["query", "passage"]) -> str:
    """Return how a text is made of a record's fields, and the names of its columns, if the recipe says so."""
    text, columns = getattr(dataset.templates, side), getattr(dataset.columns, side)
    rendered = shlex.join(["--template", text, "--missing", dataset.templates.missing]) if text else ""
    names = option("--columns", json.dumps(columns, ensure_ascii=False)) if columns else ""
    return " ".join(filter(None, (rendered, names)))


def queries(files: Files, split: str) -> str:
    """Return the files with the queries of a split, and those with the ids that choose among them."""
    dataset = files.recipe.dataset
    names = {"--queries": dataset.queries_of(split), "--ids": dataset.ids_of(split)}
    names |= {"--without": dataset.ids_without(split)}
    return " ".join(option(name, *files.sources(values)) for name, values in names.items() if values)


def published(files: Files, flag: str, name: str) -> str:
    """Return a file of negatives or scores, and its format if it holds texts in place of ids."""
    form = option("--format", "examples") if files.recipe.dataset.format == "examples" else ""
    return " ".join(filter(None, (option(flag, files.source(name)), form)))


def selection(recipe: Recipe, split: str) -> str:
    """Return which of a split's queries are kept; training takes those with a relevant passage only."""
    settings, held_out = recipe.dataset.splits[split], recipe.dataset.held_out(split)
    arguments = ["--positive"] if "train" in (split, settings.sample_of) else []
    arguments += [f"--limit {settings.limit}"] if settings.limit else []
    arguments += [f"--held-out {held_out}"] if held_out else []
    return " ".join(arguments + ([f"--seed {recipe.seed}"] if settings.limit or held_out else []))


def skip(dataset: Dataset, runs: bool = False) -> str:
    """Return the defects of published files that are skipped: those of runs from elsewhere, or the others."""
    return option("--skip", *(defect for defect in dataset.skip if (defect in OF_RUNS) == runs))


def exclude(dataset: Dataset) -> str:
    """Return the flag that leaves the passage with a query's id out of its results."""
    return "--drop-same-id" if dataset.exclude_query_id else ""


def transform(scores: ScoreFile) -> str:
    return f"--scale {scores.scale} --offset {scores.offset}"


# --- stages


def settings(recipe: Recipe, step: str, stage: str) -> str:
    """Return exactly the settings of a stage that a step's output depends on, by name."""
    return option("--settings", as_json(recipe.settings(step, stage)))


def candidates(recipe: Recipe, stage: str) -> str:
    """Return the settings that the candidates of a stage depend on, before they are judged."""
    values = recipe.settings("candidates", stage) | {"seed": recipe.settings("trainset", stage)["seed"]}
    return option("--settings", as_json({key: value for key, value in values.items() if key != "judge"}))


def judge(recipe: Recipe, stage: str) -> str:
    """Return how the candidates of a stage are judged."""
    return option("--judge", as_json(recipe.settings("candidates", stage)["judge"]))


def scored(files: Files, stage: str) -> str:
    """Return the rankings that limit the candidates of a stage, and the note about its sets of queries.

    The rankings are those that must score all candidates, and those that a judge drops.
    """
    options = [option_if("--scored", files.only_scored(stage)), option_if("--dropped", files.dropped(stage))]
    options += [option_if("--sets", files.sets(stage))]
    return " ".join(filter(None, options))


def init(files: Files, stage: str) -> str:
    """Return the model that a stage starts from, and which of its keys the recipe leaves to that model's folder."""
    model = option("--init", files.model(files.recipe.started(stage).init))
    left = starts.adoption(files.recipe, stage)
    return f"{model} {option('--adopt', as_json(left.model_dump(mode='json')))}" if left else model


def lengths_of_init(recipe: Recipe, stage: str) -> list[str]:
    """Return the lengths that a stage takes from the folder that it starts from.

    They are part of what its result depends on: a length that the recipe sets may differ from the folder's, so the
    settings alone do not say what the job does. Every other key must be the same as in the folder, if it is set.
    """
    return [key for key in starts.adoptable(recipe, stage) if key in starts.LENGTHS]


def query_init(files: Files, stage: str) -> str:
    name = needs.query_init_of(files.recipe, stage)
    return option("--query-init", files.model(name)) if name else ""


def inference_precision(recipe: Recipe, stage: str) -> str:
    """Return the type of the products of a model that makes vectors or scores, if the recipe names one."""
    precision = recipe.settings("inference", stage)["inference_precision"]
    return option("--precision", precision) if precision else ""


def score_columns(files: Files, stage: str) -> str:
    return " ".join(option("--scores", name, *paths) for name, paths in files.score_columns(stage).items())


def teacher_vectors(files: Files, stage: str) -> str:
    return " ".join(option("--teacher-vectors", name, *paths) for name, paths in files.batch_vectors(stage).items())


def validation(files: Files, stage: str) -> str:
    """Return what a training is validated by and the files for it; nothing for a stage without validation."""
    recipe, paths = files.recipe, files.validation(stage)
    if not (recipe.validation and paths):
        return ""
    asked_for = recipe.validation.model_dump() | {"exclude_query_id": recipe.dataset.exclude_query_id}
    return f"{option('--validation', as_json(asked_for))} {_options(paths)}"


def stored_scores(files: Files, system: str) -> str:
    """Return the files that hold scores from elsewhere: the ranking of a score file, or the judgements of grades."""
    if ranking := files.stored_scores(system):
        return option("--ranking", *ranking)
    return " ".join(option(name, path) for name, path in files.judged(system).items())


# --- rankings


def measuring(recipe: Recipe, split: str) -> str:
    """Return how a run of a split is measured: the grades that count, and measures other than the default ones.

    They are one text, since another param would re-run finished evaluations.
    """
    relevant_from = option("--relevant-from", recipe.dataset.splits[split].relevant_from)
    measures = recipe.evaluation.measures
    return f"{relevant_from} {option('--measures', *measures)}" if measures != list(MEASURES) else relevant_from


def hits(recipe: Recipe, part: str) -> str:
    """Return how many passages to rank: one more if the query itself is left out again."""
    return option("--hits", needs.depth_of(recipe, part) + int(recipe.dataset.exclude_query_id))


def variant(recipe: Recipe, system: str) -> str:
    """Return how the vectors of a variant, or of a stage itself, follow from those that the stage has stored."""
    settings = recipe.variants.get(system) or Variant(of=system)
    normalize = getattr(recipe.stages[settings.of], "normalize", False)
    return option("--settings", as_json(settings.model_dump(mode="json") | {"normalize": normalize}))


def fusion_alone(recipe: Recipe, system: str) -> str:
    """Return how rankings are fused."""
    return option("--settings", as_json(recipe.fusion[system].model_dump(exclude_none=True)))


def fusion(files: Files, system: str) -> str:
    """Return how rankings are fused, and the collection where the passage with a query's id is left out."""
    settings = fusion_alone(files.recipe, system)
    excludes = files.recipe.dataset.exclude_query_id
    return f"{settings} {option('--passages', files.layout.passages)} --drop-same-id" if excludes else settings


def query_shard(recipe: Recipe, system: str, part: str) -> str:
    """Return which shard of its split's queries a system ranks in a part; nothing if it has all of them."""
    shard, shards = needs.shard_of(part), needs.train_jobs(recipe, system)
    return "" if shard is None else shlex.join(["--shard", shard, "--shards", str(shards)])


def sparse_vectors(files: Files, system: str, split: str) -> str:
    """Return the vectors whose sparsity is measured; nothing for other systems than lexicon stages."""
    return _options(files.sparse_vectors(system, split))
