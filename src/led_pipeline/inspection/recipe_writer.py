"""Write a commented recipe for a dataset, and say what was read and what is doubtful."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from led_pipeline.columns import aligned
from led_pipeline.files.atomic import size
from led_pipeline.inspection.proposal import (
    SPECIAL_TOKENS,
    TOKENS_PER_WORD,
    Machine,
    Sizes,
    dev_sample,
    resources_of,
    sizes_of,
    splits_of,
    training_split,
)
from led_pipeline.inspection.source_texts import Source
from led_pipeline.recipe.dataset import FILES
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe


@dataclass(frozen=True)
class Start:
    """What depends on where the models start: learning rates of the four stages, negatives of den, lex and led."""

    rates: tuple[str, str, str, str]
    negatives: tuple[int, int, int]
    flops: str


SCRATCH = Start(("5.0e-4", "2.0e-3", "1.0e-3", "1.0e-3"), (2, 1, 5), "0.1")
CUT = 0.25  # share of passages that are cut, from which it is said
PRETRAINED = Start(("2.0e-5", "3.0e-5", "2.0e-5", "1.0e-5"), (7, 5, 16), "8.0e-4")


def quoted(text: str) -> str:
    """Return a text as a YAML value, in quotes only where it needs them."""
    return text if yaml.safe_load(f"- {text}\n") == [text] and not set(text) & set(":#{}[],&*") else json.dumps(text)


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return quoted(value) if isinstance(value, str) and yaml.safe_load(value) == value else json.dumps(value)


def machine_text(machine: Machine) -> str:
    gpus = f"{machine.gpus} GPU{'s' if machine.gpus > 1 else ''}" if machine.gpus else "no GPU"
    return f"this machine has {machine.cores} cores, {size(machine.memory)} of memory and {gpus}"


def sizes_for(source: Source, machine: Machine, pretrained: bool) -> Sizes | None:
    """Return the numbers of the recipe; None if there is nothing to train on."""
    train = training_split(source)
    if train is None or not train.judged:
        return None
    dev = next((split.judged for split in source.splits if split.files.name == "dev"), dev_sample(train))
    return sizes_of(source, machine, train, dev, pretrained)


def passages_cut(source: Source, sizes: Sizes) -> float:
    """Return the share of passages that passage_length cuts, estimated from their words."""
    return source.passages.longer((sizes.passage_length - SPECIAL_TOKENS) / TOKENS_PER_WORD)


def recipe_text(source: Source, machine: Machine, name: str, model: str | None, out: Path) -> tuple[str, Recipe]:
    """Return the text of the recipe and the recipe itself, which is valid.

    Args:
        model: a hub id or a folder to start from; None: a model from scratch.
    """
    sizes = sizes_for(source, machine, model is not None)
    splits = splits_of(source, machine)
    environment = Environment(
        loader=PackageLoader("led_pipeline.inspection", ""),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
    )
    environment.filters |= {"quoted": quoted, "flow": flow}
    files, defaults = source.files, FILES[source.files.format]
    values = PRETRAINED if model else SCRATCH
    negatives = [min(count, sizes.mining_depth) if sizes else count for count in values.negatives]
    judged = max((split.judgements / max(split.judged, 1) for split in source.splits), default=1)
    text = environment.get_template("recipe.yaml.j2").render(
        source=source,
        machine=machine,
        machine_text=machine_text(machine),
        name=name,
        folder=str(files.folder.absolute()),
        collection=None if files.collection == defaults.collection else files.collection,
        out=out,
        splits=splits,
        comments=_comments(source, splits),
        language=source.passages.language,
        sizes=sizes,
        start=model or "pretrain",
        pretrained=model is not None,
        hits=sizes.mining_depth + max(10, round(2 * judged)) if sizes else 0,
        evaluated=[split for split in splits if split != "train"],
        depth=sizes.depth if sizes else min(1_000, source.passages.total),
        resources=resources_of(source, machine, sizes),
        rates=values.rates,
        flops=values.flops,
        negatives=negatives,
        cut=passages_cut(source, sizes) if sizes else 0,
    )
    return text, load_recipe(yaml.safe_load(text))


def _comments(source: Source, splits: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a comment for the line of every split."""
    comments = {split.files.name: f" # {split.judged:,} judged queries" for split in source.splits}
    for name, entry in splits.items():
        if "sample_of" in entry:
            comments[name] = " # there is no dev split: these training queries are held out"
        elif "limit" in entry:
            comments[name] += ", of which a sample is used, since there is no GPU"
    return comments


def report(source: Source, machine: Machine, recipe: Recipe, out: Path) -> str:
    """Return what was read, the doubts, and what to do next."""
    files, passages = source.files, source.passages
    total = f"{passages.total:,}" if passages.complete else f"about {passages.total:,}"
    words = ", ".join(f"{share:.0%} have at most {passages.at_most(share):,}" for share in (0.5, 0.95, 0.99))
    lines = [
        f"{files.folder}: {'BEIR' if files.format == 'beir' else 'MS MARCO'} format",
        f"collection {files.collection}: {total} passages, {passages.read:,} read; words: {words}",
    ]
    lines += [f"titles {files.titles}"] if files.titles else []
    lines += [f"bm25.language: {passages.language}, guessed from the texts"] if passages.language != "en" else []
    rows = [["split", "file", "queries", "file", "judgements", "queries with a relevant passage", "grades"]]
    for split in source.splits:
        grades = ", ".join(map(str, split.grades[:6])) + (", ..." if split.grades[6:] else "")
        counts = [f"{split.queries:,}", split.files.qrels, f"{split.judgements:,}", f"{split.judged:,}", grades]
        rows.append([split.files.name, split.files.queries, *counts])
    blocks = ["\n".join(lines), aligned(rows, left=2) if source.splits else "no judgements, so nothing can be measured"]
    if source.doubts:
        blocks.append("\n".join(["doubts:", *(f"  {doubt}" for doubt in source.doubts)]))
    if source.faults:
        blocks.append("\n".join(["what would stop a run:", *(f"  {fault}" for fault in source.faults)]))
    stages = ", ".join(recipe.stages) or "BM25 alone"
    sizes = sizes_for(source, machine, "pretrain" not in recipe.stages)
    if sizes and (cut := passages_cut(source, sizes)) > CUT:
        blocks.append(
            f"about {cut:.0%} of the passages are longer than passage_length: {sizes.passage_length} tokens, and are"
            " cut; a larger value (at most max_tokens, and positions of a pretrained model) takes more time"
        )
    steps = [
        f"{machine_text(machine)}",
        f"{out}: {stages}",
        f"next: led plan {out}, then: snakemake led_final --cores {machine.cores} --configfile {out}",
    ]
    return "\n\n".join([*blocks, "\n".join(steps)])
