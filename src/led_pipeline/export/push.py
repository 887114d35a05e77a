"""Push: a trained stage as a model of the hub, with a complete card, opened once before anybody else does."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from led_pipeline.export.opening import check_opens
from led_pipeline.fetch.upload import check_name, upload
from led_pipeline.files.atomic import atomic, tree_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models import card, saved_model
from led_pipeline.models.card import Measured, Results
from led_pipeline.pretrained.sentence_transformers_files import reasons_of
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.measures import within
from led_pipeline.recipe.schema import LARGEST


def stage_folder(results: Path, stage: str) -> Path:
    """Return the model folder of a stage.

    Raises:
        InputError: there is none, or it is not a retriever or a ranker.
    """
    layout = Layout(results)
    folder = Path(layout.model(stage))
    if not folder.is_dir():
        models = sorted(path.name for path in Path(layout.models).glob("*") if (path / "led.json").is_file())
        raise InputError(
            f"{folder}: no such model{nearest(stage, models)}; {results} has {', '.join(models) or 'no models'}"
        )
    if not (folder / "led.json").is_file():
        raise InputError(f"{folder}: no led.json here: it is neither a retriever nor a ranker; name another stage")
    return folder


def results_of(results: Path, stage: str) -> Results:
    """Return what a run knows about a stage: its measures, the digests of the data, and the recipe."""
    layout = Layout(results)
    file = Path(layout.resolved_recipe)
    recipe = read_json(file) if file.is_file() else {}
    if not isinstance(recipe, dict):
        raise InputError(f"{file}: expected an object, got a {type(recipe).__name__}; run Snakemake again")
    dataset = recipe.get("dataset")
    name = dataset.get("name") if isinstance(dataset, dict) else None
    text = yaml.safe_dump(_filled(recipe), sort_keys=False, allow_unicode=True) if recipe else ""
    measured = tuple(_measured(layout, stage, _depth(recipe, stage)))
    return Results(str(name or results.resolve().name), measured, dict(_inputs(layout)), text)


def _depth(recipe: Any, stage: str) -> int:
    """Return how many passages of a query the stage ranked in the evaluation."""
    evaluation, stages = recipe.get("evaluation", {}), recipe.get("stages", {})
    depths = [evaluation.get("depth"), (stages.get(stage, {}).get("rerank") or {}).get("depth")]
    return min((depth for depth in depths if depth), default=LARGEST)


def _filled(value: Any) -> Any:
    """Return a recipe without keys that are empty."""
    if not isinstance(value, dict):
        return value
    return {key: _filled(each) for key, each in value.items() if each not in (None, "", [], {})}


def _measured(layout: Layout, stage: str, depth: int) -> Iterator[Measured]:
    """Yield the measures per split, without those that look deeper than the ranking: they would be of a smaller k."""
    file = Path(layout.measures(stage, "*"))
    for path in sorted(file.parent.glob(file.name)):
        values = read_json(path)
        if not isinstance(values, dict) or not isinstance(values.get("measures"), dict):
            raise InputError(f"{path}: expected the measures of a system; run the evaluation again")
        split = path.name.removeprefix(f"{stage}.").removesuffix(".json")
        measures = {name: values["measures"][name] for name in within(depth, values["measures"])}
        yield Measured(split, int(values.get("queries", 0)), measures)


def _inputs(layout: Layout) -> Iterator[tuple[str, str]]:
    file = Path(layout.prepared_note("*"))
    for path in sorted(file.parent.glob(file.name)):
        note: Any = read_json(path)
        for each in note.get("inputs", []) if isinstance(note, dict) else []:
            yield Path(str(each["path"])).name, str(each["sha256"])


def write_complete(folder: Path, out: Path) -> None:
    """Write a model folder as this version writes it; an older one lacks the files of sentence-transformers."""
    if reasons_of(folder) is not None:
        shutil.copytree(folder, out, ignore=shutil.ignore_patterns(".*"))
        return
    model, settings = saved_model.load(folder)
    out.mkdir()
    saved_model.save(model, settings, folder, out)
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    for path in files:
        if path.name == saved_model.ORIGIN or not (out / path.name).exists():  # the origin of the weights stays
            shutil.copyfile(path, out / path.name)


def write_upload(results: Path, stage: str, name: str, out: Path) -> None:
    """Write the folder that is uploaded: model, card with the run's measures, all checked by opening it.

    Raises:
        InputError: there is no such model, or sentence-transformers would compute something else.
    """
    folder = stage_folder(results, stage)
    evidence = results_of(results, stage)
    with atomic(out) as temporary:
        write_complete(folder, temporary)
        # The code of a card downloads the model, so it cannot run before the upload; everything else is checked.
        card.write_card(temporary, name, evidence)
        check_opens(temporary)


def push(results: Path, stage: str, name: str, private: bool, dry_run: Path | None) -> str:
    """Upload a stage, or with `dry_run` only write the folder; return a sentence about it."""
    check_name(name)
    if dry_run is not None:
        if dry_run.exists():
            raise InputError(f"--dry-run: '{dry_run}' exists already; name a new folder")
        write_upload(results, stage, name, dry_run)
        return f"{dry_run}: {tree_bytes(dry_run) / 1e6:,.1f} MB would be uploaded to {name}"
    with tempfile.TemporaryDirectory(prefix="led-push-", dir=results) as scratch:
        folder = Path(scratch) / "model"
        write_upload(results, stage, name, folder)
        return f"{stage} is at {upload(folder, name, private)}"
