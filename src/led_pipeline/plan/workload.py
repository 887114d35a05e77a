"""Workload: how many passages, queries and examples a recipe is about, before they are prepared if need be."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.stored import count as count_rows
from led_pipeline.data.formats.stored import data_files, exists, is_table
from led_pipeline.data.formats.streams import beginning, is_there, plain_name
from led_pipeline.files.reading import read_json, reading
from led_pipeline.plan import assumptions
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.stages import MaskedLm, Trained

SAMPLE = 1 << 20  # bytes read of a file whose lines are estimated
FROM_SIZES = "from the sizes of the files"


@dataclass(frozen=True)
class Workload:
    """Counts and sizes that the estimates start from."""

    passages: int
    text_bytes: float  # of a passage, title included
    queries: dict[str, int]  # by split, those that are kept
    examples: int  # judged pairs to train on
    basis: str  # where the counts come from
    id_bytes: float = assumptions.ID_BYTES

    @property
    def passage_tokens(self) -> float:
        return self.text_bytes / assumptions.BYTES_PER_TOKEN

    @property
    def query_tokens(self) -> float:
        return assumptions.QUERY_BYTES / assumptions.BYTES_PER_TOKEN

    @property
    def estimated(self) -> bool:
        """Whether the counts are estimates from the sizes of files, and not exact."""
        return self.basis == FROM_SIZES

    def of_epoch(self, stage: Trained | MaskedLm) -> int:
        """Return the examples of one epoch of a stage, or its passages."""
        if isinstance(stage, MaskedLm):
            return self.passages
        each_query_once = stage.positives_per_epoch == "one"
        return min(self.examples, self.queries.get("train", 0)) if each_query_once else self.examples

    def batches(self, stage: Trained | MaskedLm) -> int:
        """Return the batches of a stage's whole training."""
        batches = -(-self.of_epoch(stage) // stage.batch_size) * stage.epochs
        return min(batches, (stage.max_steps or batches) * stage.gradient_accumulation)

    def steps(self, stage: Trained | MaskedLm) -> int:
        """Return the optimizer steps of a stage's whole training."""
        return -(-self.batches(stage) // stage.gradient_accumulation)


def workload(recipe: Recipe, results: Path) -> Workload:
    """Return the counts of a dataset: as prepared, or as published, or from a look at its files."""
    if counted := _prepared(recipe, Layout(results)):
        return counted
    if recipe.dataset.source == "docstrings":
        size = recipe.dataset.docstrings
        train = max(size.passages - size.dev_queries, 0)
        queries = {split: size.dev_queries if split == "dev" else train for split in recipe.dataset.splits}
        queries = _limited(recipe, queries)
        ids = assumptions.DOCSTRING_ID_BYTES
        return Workload(size.passages, assumptions.DOCSTRING_BYTES, queries, train, "dataset.docstrings", ids)
    if recipe.dataset.source == "download":
        return _published(recipe)
    return _folder(recipe, Path(recipe.dataset.folder or ""))


def _prepared(recipe: Recipe, layout: Layout) -> Workload | None:
    paths = {name: Path(layout.prepared_note(name)) for name in ("passages", *recipe.dataset.splits)}
    if not all(path.is_file() for path in paths.values()):
        return None
    notes = {name: read_json(path) for name, path in paths.items()}
    damaged = (KeyError, TypeError, AttributeError, ZeroDivisionError)
    with reading(
        paths["passages"].parent, "what preparing the dataset writes; remove it and start again", also=damaged
    ):
        return _counted(recipe, notes)


def _counted(recipe: Recipe, notes: dict[str, Any]) -> Workload:
    """Return the counts that the provenance of a prepared dataset says."""
    passages = notes["passages"]["counts"]["passages"]
    plain = [i for i in notes["passages"]["inputs"] if i["path"] == plain_name(i["path"]) and ".zip/" not in i["path"]]
    ids = assumptions.DOCSTRING_ID_BYTES if recipe.dataset.source == "docstrings" else assumptions.ID_BYTES
    size = sum(i["bytes"] for i in plain) / passages - ids * len(plain)
    queries = {split: notes[split]["counts"]["queries"] for split in recipe.dataset.splits}
    examples = notes["train"]["counts"]["judgements"] if "train" in notes else 0
    return Workload(passages, size if plain else assumptions.PUBLISHED_TEXT_BYTES, queries, examples, "prepared", ids)


def _limited(recipe: Recipe, queries: dict[str, int]) -> dict[str, int]:
    splits = recipe.dataset.splits
    limited = {split: min(count, splits[split].limit or count) for split, count in queries.items()}
    return {split: sum(limited[part] for part in recipe.dataset.read_for(split)) for split in queries}


def _published(recipe: Recipe) -> Workload:
    dataset = recipe.dataset
    counts, most = assumptions.PUBLISHED_PASSAGES, max(assumptions.PUBLISHED_PASSAGES.values())
    passages = sum(counts.get(name, most) for name in dataset.collection_files)
    text = assumptions.PUBLISHED_TEXT_BYTES + (assumptions.PUBLISHED_TITLE_BYTES if dataset.titles else 0)
    qrels = {split: "".join(dataset.qrels_of(split)[:1]) for split in dataset.splits}
    all_queries = {s: assumptions.PUBLISHED_QUERIES.get(name, assumptions.ASSUMED_QUERIES) for s, name in qrels.items()}
    queries = _limited(recipe, all_queries)
    examples = 0.0
    for part in dataset.read_for("train") if "train" in dataset.splits else []:
        judgements = assumptions.PUBLISHED_JUDGEMENTS.get(qrels[part], all_queries[part])
        examples += judgements * queries[part] / max(all_queries[part], 1)
    return Workload(passages, text, queries, round(examples), "as published")


def _folder(recipe: Recipe, folder: Path) -> Workload:
    dataset = recipe.dataset
    passages, width = _all_lines(folder, dataset.collection_files)
    titles = lines(folder / dataset.titles) if dataset.titles else (0, 0.0)
    size = max(width - assumptions.ID_BYTES, 1) + (titles[0] * titles[1] / passages if passages else 0)
    counted = {split: dataset.qrels_of(split) or dataset.queries_of(split) for split in dataset.splits}
    judgements = {split: _all_lines(folder, names)[0] for split, names in counted.items()}
    counts = {split: count or assumptions.ASSUMED_QUERIES for split, count in judgements.items()}
    chosen = {split: _all_lines(folder, dataset.ids_of(split))[0] for split in counts if dataset.ids_of(split)}
    queries = _limited(recipe, counts | chosen)
    return Workload(passages, size, queries, queries.get("train", 0), "from the sizes of the files")


def _all_lines(folder: Path, names: Iterable[str]) -> tuple[int, float]:
    """Return about how many lines some files have together, and the bytes of one."""
    counted = [lines(file) for name in names if exists(folder / name) for file in data_files(folder / name)]
    count = sum(number for number, _ in counted)
    return count, sum(number * width for number, width in counted) / max(count, 1)


def lines(path: Path) -> tuple[int, float]:
    """Return about how many lines a text file has and their bytes, from its beginning; zeros if it is not there.

    Of a compressed file the beginning tells the compression too, which makes the estimate of its lines rougher. Of a
    Parquet or Arrow file, return the rows and their bytes in the file.
    """
    if not is_there(path):
        return 0, 0.0
    if is_table(path):
        rows = max(count_rows(path), 1)
        return rows, path.stat().st_size / rows
    head, size = beginning(path, SAMPLE)
    head = head[: head.rfind(b"\n") + 1] or head
    count = max(head.count(b"\n"), 1)
    return round(size * count / max(len(head), 1)), len(head) / count
