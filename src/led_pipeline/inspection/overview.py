"""What the results of a run have: stages, models, vectors, rankings, measures, their sizes, and what is missing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from led_pipeline.data.order import total_steps
from led_pipeline.data.tables import count_rows
from led_pipeline.fetch import hub
from led_pipeline.files import folder_names
from led_pipeline.files.atomic import tree_bytes
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.runs import Run
from led_pipeline.inspection.workflow import Freshness, freshness, running
from led_pipeline.pretrained.sentence_transformers_files import reasons_of
from led_pipeline.recipe import needs
from led_pipeline.recipe.stages import MaskedLm, Trained
from led_pipeline.report.log import read_train_log

KINDS = ("model", "trainset", "pool", "vectors", "index", "rankings", "run", "measures")


@dataclass(frozen=True)
class Part:
    """The files of one kind of a system: how many there are of those that the recipe needs."""

    present: int
    expected: int
    remark: str = ""


def expected_files(run: Run) -> dict[str, dict[str, list[str]]]:
    """Return the files that the recipe needs, by system or stage and by kind."""
    recipe, layout = run.recipe, run.layout
    models = {model.name: hub.slug(model.name) for model in hub.hub_models(recipe)}
    tokens = {n: folder_names.of_tokenizer(n, recipe.stages, hub.is_local(n)) for n in needs.tokenizers(recipe)}
    paths = needs.Files(recipe, layout, models, tokens)
    judged, evaluated = recipe.dataset.judged(recipe.evaluation.splits), needs.evaluated(recipe)
    mined = needs.sources(recipe, recipe.trained, "negatives")
    indexed = ["bm25", *recipe.with_output("sparse")]
    files: dict[str, dict[str, list[str]]] = {}
    for name in dict.fromkeys(["bm25", *needs.order(recipe), *run.systems, *mined]):
        splits = [split for system, split in evaluated if system == name]
        searched = [*splits, "train"] if name in mined and name in run.systems else splits
        vectors: list[str] = []
        if name in recipe.retrievers:
            vectors = [*paths.passage_vectors(name), *(paths.query_vectors(name, split) for split in searched)]
        files[name] = {
            "model": [layout.model(name)] if name in recipe.stages else [],
            "trainset": [layout.trainset(name)] if name in recipe.trained else [],
            "pool": [layout.pool(name)] if name in mined else [],
            "vectors": vectors,
            "index": [layout.index(name)] if name in indexed else [],
            "rankings": [layout.ranking(name, split) for split in searched],
            "run": [layout.run(name, split) for split in splits],
            "measures": [layout.measures(name, split) for split in splits if split in judged],
        }
    return files


def parts_of(run: Run) -> dict[str, dict[str, Part]]:
    """Return what is there of each system or stage, by kind; nothing for kinds that the recipe does not need."""
    table = {}
    for name, kinds in expected_files(run).items():
        counted = {k: (sum(Path(path).exists() for path in paths), len(paths)) for k, paths in kinds.items() if paths}
        remarks = {"model": _remark(run, name)} if "model" in counted else {}
        table[name] = {kind: Part(*count, remarks.get(kind, "")) for kind, count in counted.items()}
    return table


def _remark(run: Run, stage: str) -> str:
    """Return how far the training of a stage came: finished, a checkpoint, a log, or not begun."""
    layout = run.layout
    if Path(layout.model(stage)).is_dir():
        log = Path(layout.train_log(stage))
        steps = read_train_log(log).summary()["steps"] if log.is_file() else None
        return "" if steps is None else f"{steps:,} steps"
    checkpoints = Path(layout.checkpoints(stage))
    if (progress := checkpoints / "progress.json").is_file():
        return f"checkpoint at step {read_json(progress)['step']:,}{_of_total(run, stage)}"
    logged = checkpoints / "train.jsonl"
    curves = read_train_log(logged).terms if logged.is_file() else {}
    last = max((step for curve in curves.values() for step in curve), default=None)
    return "" if last is None else f"no checkpoint yet, step {last:,}{_of_total(run, stage)} logged"


def _of_total(run: Run, name: str) -> str:
    """Return the number of steps of a training in words, if its trainset is drawn; if it has none, of all passages."""
    stage, note = run.recipe.stages[name], Path(run.layout.drawn_note(name))
    if isinstance(stage, MaskedLm):
        passages = counts(run)["passages"]
        return f" of {total_steps(passages, stage):,}" if passages else ""
    if not (isinstance(stage, Trained) and note.is_file()):
        return ""
    return f" of {total_steps(read_json(note)['examples_per_epoch'], stage):,}"


def opens_elsewhere(run: Run) -> dict[str, str]:
    """Return for every saved model whether sentence-transformers opens its folder as it was trained."""
    folders = {name: Path(run.layout.model(name)) for name in run.recipe.retrievers + run.recipe.with_output("scores")}
    return {name: _opening(folder) for name, folder in folders.items() if folder.is_dir()}


def _opening(folder: Path) -> str:
    why = reasons_of(folder)
    if why is None:
        return "no: an older version wrote it, and sentence-transformers would open it wrongly; train it again"
    return "yes" if not why else f"yes, with trust_remote_code=True: {'; '.join(why)}"


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of every folder and file of the results, largest first."""
    counts = {path.name: tree_bytes(path) for path in folder.iterdir()}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def measures(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Return the measures of every evaluated system by split."""
    by_split: dict[str, dict[str, dict[str, float]]] = {}
    for split in run.recipe.dataset.judged(run.recipe.evaluation.splits):
        paths = {name: Path(run.layout.measures(name, split)) for name in run.systems}
        by_split[split] = {name: read_json(path)["measures"] for name, path in paths.items() if path.is_file()}
    return by_split


def counts(run: Run) -> dict[str, int | None]:
    """Return the number of passages, and of queries of each split; None if they are not prepared."""
    paths = {"passages": run.layout.passages} | {s: run.layout.queries(s) for s in run.recipe.dataset.splits}
    return {name: count_rows(path) if Path(path).is_file() else None for name, path in paths.items()}


def overview(run: Run, config: Path | None = None, check: bool = True) -> dict[str, Any]:
    """Return everything that `led inspect` prints about the results of a run.

    Args:
        config: the user's config, to compare the results with; by default the recorded recipe.
        check: whether to ask Snakemake what is out of date.
    """
    name, recorded = run.recipe.dataset.name, Path(run.layout.resolved_recipe)
    state: Freshness = freshness(run.folder, name, config, recorded, check)
    bytes_of = sizes(run.folder)
    return {
        "results": str(run.folder),
        "dataset": name,
        "counts": counts(run),
        "parts": {system: {k: asdict(part) for k, part in kinds.items()} for system, kinds in parts_of(run).items()},
        "report": Path(run.layout.page).is_file(),
        "sentence_transformers": opens_elsewhere(run),
        "running": running(run.folder.resolve().parents[1], name),
        "freshness": asdict(state),
        "bytes": bytes_of,
        "total_bytes": sum(bytes_of.values()),
        "evaluated": measures(run),
    }


def shown_measures(values: Sequence[dict[str, float]]) -> list[str]:
    """Return the measures of a short table: those at cut-off 10, or the first three."""
    names = list(values[0]) if values else []
    return [name for name in names if name.endswith("@10")] or names[:3]
