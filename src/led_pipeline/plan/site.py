"""Site: where a run takes place."""

from dataclasses import dataclass, field
from pathlib import Path

from led_pipeline.plan import machine


@dataclass(frozen=True)
class Site:
    """Where a run takes place."""

    results: Path  # folder of the dataset
    sources: Path  # config/sources.yaml
    published: Path  # config/published.yaml
    elsewhere: bool = False  # whether GPU jobs run on other machines than this one
    limit: int | None = None  # `--resources gpu=N`: no job gets more
    gpus: list[machine.Gpu] = field(default_factory=machine.gpus)
