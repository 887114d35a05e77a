"""Published numbers (config/published.yaml), and how far ours are from them."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml

SCALE = 100  # publications print 39.6 where we have 0.396


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedMeasure(_Section):
    """Which measures of ours a published one may mean, and how far ours may be from it, in printed units."""

    ours: list[str] = Field(min_length=1)
    tolerance: float = Field(gt=0)


class Source(_Section):
    title: str
    url: str


class PublishedSystem(_Section):
    """One published system; `stage` reproduces it, `near` is only the closest that a recipe has."""

    system: str
    stage: str | None = None
    near: str | None = None
    source: str | None = None
    verified: Literal["verified", "second-hand", "unverified"]
    note: str | None = None
    tolerance: dict[str, float] = {}
    values: dict[str, dict[str, float]]  # split -> measure -> value

    @model_validator(mode="after")
    def _has_a_source_or_says_so(self) -> "PublishedSystem":
        if (self.source is None) != (self.verified == "unverified"):
            raise ValueError("a row without a source must be marked unverified, and only such a row")
        return self


class Published(_Section):
    """What is published about one dataset."""

    measures: dict[str, PublishedMeasure]
    sources: dict[str, Source]
    systems: list[PublishedSystem]

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> "Published":
        for row in self.systems:
            if row.source is not None and row.source not in self.sources:
                raise ValueError(f"{row.system}: no source '{row.source}'")
            measures = {measure for values in row.values.values() for measure in values} | row.tolerance.keys()
            if unknown := sorted(measures - self.measures.keys()):
                raise ValueError(f"{row.system}: no measure '{unknown[0]}'")
        return self

    def unmeasured(self, systems: Collection[str], splits: Collection[str], measures: Collection[str]) -> list[str]:
        """Return the measures of ours that a gate needs and an evaluation lacks, in the order of the file."""
        keys = (key for _, _, name in self.gated(systems, splits) for key in self.measures[name].ours)
        return [key for key in dict.fromkeys(keys) if key not in measures]

    def gated(self, systems: Collection[str], splits: Collection[str]) -> Iterator[tuple[PublishedSystem, str, str]]:
        """Yield the numbers that a result must reach: those a system here reproduces, unless they are unverified.

        Returns:
            The row, the split and the measure, in the order of the file.
        """
        for row in self.systems:
            if row.stage in systems and row.verified != "unverified":
                yield from ((row, split, m) for split, values in row.values.items() if split in splits for m in values)


def load_published(path: Path, dataset: str) -> Published | None:
    """Return what is published about a dataset, or None if the file does not name it.

    Raises:
        InputError: the file is not valid YAML, or a key or value of this dataset's section is wrong.
    """
    content = read_yaml(path, "the list of published numbers") or {}
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a mapping of datasets to what is published about them")
    if dataset not in content:
        return None
    try:
        return Published.model_validate(content[dataset])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in (dataset, *first["loc"]))
        raise InputError(f"{path}: {key}: {first['msg']}") from error


def beside_ours(published: Published, splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the published rows with our value, its difference and whether that is tolerated, all in printed units.

    Args:
        published: the published numbers of the dataset.
        splits: per split our measures: `splits[split]["systems"][system]["measures"]`, a system may be None.

    Returns:
        Rows in the order of the file, without those that have no value on any of our splits. `within` is None where
        the value is not compared: no result of ours, another kind of system, or an unverified number.
    """
    rows = []
    for row in published.systems:
        values = {
            split: {name: _cell(published, row, name, value, splits[split]) for name, value in measures.items()}
            for split, measures in row.values.items()
            if split in splits
        }
        if values:
            source = published.sources[row.source].model_dump() if row.source else None
            columns = row.model_dump(include={"system", "stage", "near", "verified", "note"})
            rows.append({**columns, "source": source, "values": values})
    return rows


def _cell(
    published: Published, row: PublishedSystem, name: str, value: float, split: Mapping[str, Any]
) -> dict[str, Any]:
    measure = published.measures[name]
    tolerance = row.tolerance.get(name, measure.tolerance)
    result = split["systems"].get(row.stage or row.near or "")
    measured = result["measures"] if result else {}
    ours = {key: measured[key] * SCALE for key in measure.ours if key in measured}
    difference = min((result - value for result in ours.values()), key=abs, default=None)
    comparable = difference is not None and row.stage is not None and row.verified != "unverified"
    return {
        "published": value,
        "ours": ours,
        "difference": difference,
        "tolerance": tolerance if comparable else None,
        "within": abs(difference) <= tolerance if difference is not None and comparable else None,
    }
