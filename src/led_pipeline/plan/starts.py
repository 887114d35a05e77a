"""Starts: what the models that stages start from say about themselves, compared with the recipe before any job.

Folders are read here; of models on a hub, the small files are downloaded into its cache.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.fetch import hub
from led_pipeline.files.errors import InputError
from led_pipeline.plan.finding import Finding
from led_pipeline.pretrained.descriptions import describe
from led_pipeline.recipe import checks, start_checks, starts
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import trained_in
from led_pipeline.recipe.starts import Description


@dataclass(frozen=True)
class Starts:
    """A recipe as its jobs will understand it, and where it contradicts the models that its stages start from."""

    recipe: Recipe
    """with the keys that stages take from folders and hub models"""
    faults: list[str]
    """one sentence per key"""

    def findings(self) -> Iterator[Finding]:
        """Yield the faults as findings of the preflight."""
        yield from (Finding("fatal", "model", fault) for fault in self.faults)


def look_at_starts(recipe: Recipe, results: Path) -> Starts:
    """Read the descriptions of all models from elsewhere, and compare them with the recipe.

    Args:
        results: the folder of the dataset, in which models of the hub may be already.
    """
    names = starts.outside(recipe)
    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        folders = dict(zip(names, pool.map(lambda name: _folder(name, results), names), strict=True))
    descriptions: dict[str, Description | None] = {}
    faults = []
    for name, folder in folders.items():
        try:
            descriptions |= {name: describe(folder)} if folder else {}
        except InputError as error:
            faults.append(f"{', '.join(hub.outside_names(recipe)[name])}: {error}")
    whole = starts.resolved(recipe, descriptions)
    faults += start_checks.faults(recipe, descriptions)
    return Starts(whole, faults or checks.faults(whole, trained_in(results)))


def _folder(name: str, results: Path) -> Path | None:
    """Return where the files are in which a model describes itself; None: not here, which other checks report."""
    if hub.is_local(name):
        return Path(name) if Path(name).is_dir() else None
    fetched = Path(Layout(results).hub(name))
    return fetched if (fetched / hub.NOTE).is_file() else hub.described(hub.HubModel(name, (), weights=True))
