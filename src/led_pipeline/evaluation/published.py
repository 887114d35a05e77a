"""Published numbers (config/published.yaml), and how far ours are from them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.recipe.measures import within

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
    """One published system; `stage` reproduces it, `near` are only the closest that a recipe may have."""

    system: str
    stage: str | None = None
    near: list[str] = []
    source: str | None = None
    verified: Literal["verified", "second-hand", "unverified", "expectation"]
    """expectation: what a recipe of this project should reach; nobody published it, and a gate compares it"""
    note: str | None = None
    tolerance: dict[str, float] = {}
    values: dict[str, dict[str, float]]  # split -> measure -> value

    @model_validator(mode="after")
    def _has_a_source_or_says_so(self) -> "PublishedSystem":
        if (self.source is None) != (self.verified in ("unverified", "expectation")):
            raise ValueError("a row without a source must be marked unverified or expectation, and only such a row")
        return self


class Content(_Section):
    """What a prepared dataset holds if it is this one, whatever its name."""

    passages: int = Field(gt=0)
    queries: dict[str, int]  # split of the published numbers -> its judged queries

    def splits(self, passages: int | None, queries: Mapping[str, int | None]) -> dict[str, str]:
        """Return our split of each split of the published numbers; none if the collection is another one.

        Args:
            passages: those of our collection.
            queries: our splits with the number of their judged queries. Of several splits with the same number, the
                one of the same name is taken, otherwise the first.
        """
        if passages != self.passages:
            return {}
        ours: dict[str, str] = {}
        for split, count in self.queries.items():
            same = [name for name, judged in queries.items() if judged == count]
            if same:
                ours[split] = split if split in same else same[0]
        return ours


class Published(_Section):
    """What is published about one dataset."""

    content: Content
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

    def unmeasured(
        self, systems: Collection[str], splits: Collection[str], measures: Collection[str], depth: int
    ) -> list[str]:
        """Return the measures of ours that a gate needs and an evaluation lacks, in the order of the file.

        Args:
            depth: that of the rankings; a measure beyond it is not compared, so it is not needed.
        """
        keys = (key for _, _, name in self.gated(systems, splits) for key in self.measures[name].ours)
        return [key for key in dict.fromkeys(within(depth, keys)) if key not in measures]

    def gated(self, systems: Collection[str], splits: Collection[str]) -> Iterator[tuple[PublishedSystem, str, str]]:
        """Yield the numbers that a result must reach: those a system here reproduces, unless they are unverified.

        Returns:
            The row, the split and the measure, in the order of the file.
        """
        for row in self.systems:
            if row.stage in systems and row.verified != "unverified":
                yield from ((row, split, m) for split, values in row.values.items() if split in splits for m in values)


def load_published(path: Path) -> list[Published]:
    """Return what is published, one entry per dataset, in the order of the file.

    Raises:
        InputError: the file is not valid YAML, or one of its keys or values is wrong.
    """
    content = read_yaml(path, "the list of published numbers") or {}
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a mapping of datasets to what is published about them")
    sections = []
    for dataset, section in content.items():
        try:
            sections.append(Published.model_validate(section))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (dataset, *first["loc"]))
            raise InputError(f"{path}: {key}: {first['msg']}") from error
    return sections


def published_about(
    sections: Sequence[Published], passages: int | None, queries: Mapping[str, int | None]
) -> tuple[Published, dict[str, str]] | None:
    """Return what is published about a dataset with this content, and our split of each published one; None if nothing.

    Args:
        passages: those of the prepared collection.
        queries: our splits with the number of their judged queries.
    """
    return next(((each, ours) for each in sections if (ours := each.content.splits(passages, queries))), None)


def beside_ours(
    published: Published, splits: Mapping[str, Any], ours: Mapping[str, str], depth: int
) -> list[dict[str, Any]]:
    """Return the published rows with our value, its difference and whether that is tolerated, all in printed units.

    Args:
        published: the published numbers of the dataset.
        splits: per split our measures: `splits[split]["systems"][system]["measures"]`, a system may be None.
        ours: our split of each split of the published numbers.
        depth: that of our rankings; a measure beyond it is not compared, since recall@1000 of 100 passages is
            recall@100.

    Returns:
        Rows in the order of the file with their values by our splits, without those that have no value on any of
        them, and without expectations of stages that are not there. `within` and `verdict` (within, above, below) are
        None where the value is not compared: no result of ours, another kind of system, or an unverified number.
    """
    rows = []
    systems = {name for split in ours.values() for name in splits[split]["systems"]}
    for row in published.systems:
        if row.verified == "expectation" and row.stage not in systems:
            continue  # of another recipe
        values = {
            ours[split]: {
                name: _cell(published, row, name, value, splits[ours[split]], depth) for name, value in measures.items()
            }
            for split, measures in row.values.items()
            if split in ours
        }
        if values:
            source = published.sources[row.source].model_dump() if row.source else None
            near = next((name for name in row.near if name in systems), None)
            columns = row.model_dump(include={"system", "stage", "verified", "note"})
            rows.append({**columns, "near": near, "source": source, "values": values})
    return rows


def _cell(
    published: Published, row: PublishedSystem, name: str, value: float, split: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    measure = published.measures[name]
    tolerance = row.tolerance.get(name, measure.tolerance)
    result = next((result for name in [row.stage, *row.near] if (result := split["systems"].get(name))), None)
    measured = result["measures"] if result else {}
    ours = {key: measured[key] * SCALE for key in within(depth, measure.ours) if key in measured}
    difference = min((result - value for result in ours.values()), key=abs, default=None)
    comparable = difference is not None and row.stage is not None and row.verified != "unverified"
    return {
        "published": value,
        "ours": ours,
        "difference": difference,
        "tolerance": tolerance if comparable else None,
        "within": abs(difference) <= tolerance if difference is not None and comparable else None,
        "verdict": _verdict(difference, tolerance) if difference is not None and comparable else None,
    }


def _verdict(difference: float, tolerance: float) -> Literal["within", "above", "below"]:
    return "within" if abs(difference) <= tolerance else "above" if difference > 0 else "below"
