"""Evaluate one trained model on the public datasets of BEIR: download, run the workflow on each, and compare.

`config/beir.yaml` lists the datasets, `config/recipes/beir.yaml` is the recipe of all of them. Each dataset is a run of
its own, so an interrupted evaluation goes on with what is missing.

Source: BEIR (arXiv:2104.08663).
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from led_pipeline.columns import aligned
from led_pipeline.fetch.checksums import Expected
from led_pipeline.fetch.download import Places, obtain
from led_pipeline.fetch.sources import MIRROR, Source
from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.inspection.workflow import command, environment, snakefile
from led_pipeline.report.summary import summary
from led_pipeline.report.text import number

MEASURES = ("nDCG@10", "recall@100")  # of the published numbers, in this order
STAGE = "model"
TERMS = "terms of use of the dataset itself: see the page that BEIR's README links"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Set(_Section):
    """One dataset."""

    md5: str = Field(pattern="^[0-9a-f]{32}$")
    keys: dict[str, Any] = {}
    published: dict[str, list[float]] = {}


class Sets(_Section):
    """The list of datasets."""

    archives: str
    source: dict[str, str]
    sets: dict[str, Set]


@dataclass(frozen=True)
class Evaluation:
    """A model, and how its texts and jobs are to be run."""

    model: str
    """a model folder or a hub id"""
    family: str
    lengths: Mapping[str, int]
    """query_length and passage_length"""
    gpus: int
    """per job that encodes or searches"""
    cores: str
    """Snakemake's --cores"""


def read_sets(path: Path) -> Sets:
    """Read the list of datasets.

    Raises:
        InputError: the file is not valid.
    """
    try:
        return Sets.model_validate(read_yaml(path, "the list of BEIR's datasets"))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def chosen(sets: Sets, names: str) -> dict[str, Set]:
    """Return the datasets that a comma-separated list names; all of them for `all`.

    Raises:
        InputError: there is no such dataset.
    """
    if names == "all":
        return sets.sets
    some = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in some if name not in sets.sets] or (["nothing"] if not some else []):
        raise InputError(f"--sets: no dataset '{unknown[0]}'; there are {', '.join(sets.sets)}, and all")
    return {name: sets.sets[name] for name in some}


def fetch(name: str, entry: Set, archives: str, data: Path) -> Path:
    """Return the archive of a dataset, downloaded unless it is there, and checked.

    Raises:
        InputError: it cannot be downloaded, or has another MD5.
    """
    path, records = data / f"{name}.zip", data / ".checksums"
    url = f"{archives}/{path.name}"
    source = Source(name=path.name, url=[url], bytes=None, md5=entry.md5, verified=True, licence=TERMS)
    if path.exists():
        Expected(source, records).check(path, str(path))
    else:
        obtain(source, Places(data / ".archives", records, os.environ.get(MIRROR)), path)
    return path


def key_of(name: str) -> str:
    """Return the name of a dataset in a recipe."""
    return name.replace("-", "_")


def recipe(base: Mapping[str, Any], name: str, entry: Set, archive: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Return the recipe of one dataset.

    Args:
        base: config/recipes/beir.yaml.
    """
    stage = {"family": evaluation.family, "init": evaluation.model, "train": False, **evaluation.lengths}
    on_gpus = {kind: {**base["resources"][kind], "gpu": evaluation.gpus} for kind in ("encode", "search")}
    changes = {
        "dataset": {**base["dataset"], "name": key_of(name), "folder": str(archive)},
        "tokenizer": evaluation.model,
        "stages": {STAGE: stage},
        "resources": {**base["resources"], **on_gpus},
        "evaluation": {**base["evaluation"], "compare": [[STAGE, "bm25"]], "side_by_side": [STAGE, "bm25"]},
    }
    merged = _merged({**base, **changes}, entry.keys)
    longest = max(evaluation.lengths.values())  # what the model reads
    merged["stages"][STAGE]["query_length"] = min(merged["stages"][STAGE]["query_length"], longest)
    return merged


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(values[key], change)
        if isinstance(change, Mapping) and isinstance(values.get(key), Mapping)
        else change
        for key, change in changes.items()
    }
    return {**values, **nested}


def run(names: Mapping[str, Set], archives: str, data: Path, directory: Path, evaluation: Evaluation) -> Iterator[str]:
    """Run the workflow on every dataset, and yield the name of each that is done.

    Raises:
        InputError: a download or a run failed; what is done stays.
    """
    base = read_yaml(snakefile(directory).parent / "config" / "recipes" / "beir.yaml", "the recipe of BEIR")
    for name, entry in names.items():
        archive = fetch(name, entry, archives, data)
        config = directory / "results" / f"{key_of(name)}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        values = recipe(base, name, entry, archive.absolute(), evaluation)
        config.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        line = command(directory, config.absolute(), "led_final", "--cores", evaluation.cores)
        line += ["--resources", f"gpu={evaluation.gpus}"] if evaluation.gpus else []
        if status := subprocess.run(line, env=environment()).returncode:
            raise InputError(
                f"{name}: the run failed with status {status}; its own message is above. Run the command again: it goes"
                " on with what is missing"
            )
        yield name


def text(sets: Sets, names: Sequence[str], result: Mapping[str, Any]) -> str:
    """Return the tables: ours, and the published numbers beside them, with means over the datasets."""
    blocks = []
    published = list(dict.fromkeys(system for name in names for system in sets.sets[name].published))
    ours = list(result["means"])
    for i, measure in enumerate(MEASURES):
        rows = [[measure, *ours, *(f"{system} (published)" for system in published)]]
        columns: list[list[float | None]] = []
        for name in names:
            systems = result["datasets"][key_of(name)]["systems"]
            numbers = sets.sets[name].published
            values = [systems.get(system, {}).get(measure) for system in ours]
            values += [numbers[system][i] if system in numbers else None for system in published]
            columns.append(values)
            rows.append([name, *map(number, values)])
        means = [_mean(values) for values in zip(*columns, strict=True)]
        blocks.append(aligned([*rows, ["mean", *map(number, means)]]))
    flops = {system: values["FLOPS"] for system, values in result["means"].items() if values["FLOPS"] is not None}
    blocks += [f"FLOPS of a pair, mean: {system} {value:.2f}" for system, value in flops.items()]
    return "\n\n".join([*blocks, f"published: {sets.source['title']}\n{sets.source['url']}"]) + "\n"


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None


def results_of(names: Sequence[str], directory: Path) -> dict[str, Any]:
    """Return the measures of finished datasets, and their means (`report.summary`)."""
    return summary([directory / "results" / key_of(name) for name in names])
