"""Load a recipe: validate a config before any job starts. Imports no torch.

`load_recipe` validates a config (a parsed YAML mapping), fills in `defaults`, and resolves the graph of stages; every
key has its default and meaning in `schema`, `dataset` or `stages`. Every error is one sentence that names the key and,
for a misspelt name, the nearest right one.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.recipe import checks, old_words, start_checks
from led_pipeline.recipe.errors import nearest, sentences, short
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.stages import FAMILIES

ALTERNATIVES = ({"warmup_fraction", "warmup_steps"},)  # keys of a stage that replace one another


def load_recipe(
    config: Mapping[str, Any],
    trained: Callable[[str], Collection[str]] | None = None,
    quiet: bool = False,
    descriptions: Callable[[Recipe], start_checks.Descriptions] | None = None,
) -> Recipe:
    """Check a config and return the recipe; a note on stderr names keys with words of the previous version.

    Args:
        trained: returns the stages of a dataset that have models already, whose user code may be missing by now, and
            which are not compared with what they started from; default: none.
        quiet: print no note.
        descriptions: returns what the folders that stages start from say about their models; stages that differ from
            them are faults. Default: none is compared.

    Raises:
        InputError: one line per fault, each naming its key.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"recipe: expected a mapping of keys to values, got {short(config)}")
    config, notes = old_words.replace(config)
    if notes and not quiet:
        print("\n".join(f"recipe: {note}" for note in notes), file=sys.stderr)
    faults, filled = [], dict(config)
    stages, defaults = config.get("stages"), config.get("defaults") or {}
    if isinstance(stages, Mapping) and isinstance(defaults, Mapping):
        keys = {key for family in FAMILIES.values() for key in family.model_fields} - {"family", "init"}
        faults = [
            f"defaults.{key}: no such key in any family of stages{nearest(key, keys)}"
            for key in defaults
            if key not in keys
        ]
        filled["stages"] = {name: _with_defaults(stage, defaults) for name, stage in stages.items()}
    if not faults:
        try:
            recipe = Recipe.model_validate(filled)
        except ValidationError as error:
            faults = sentences(error, Recipe, config)
        else:
            finished = trained(recipe.dataset.name) if trained else ()
            faults = checks.faults(recipe, finished)
            if not faults:
                faults = [*start_checks.faults(recipe, descriptions(recipe) if descriptions else {}, finished)]
    if faults:
        raise InputError("\n".join(f"recipe: {fault}" for fault in faults))
    return recipe


def read_recipe(path: Path, folder: Path) -> Recipe:
    """Read and check a config file; `folder` is the parent of results/.

    Raises:
        InputError: the file does not exist, is not YAML, or is not a valid recipe.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the config of a recipe, such as config/demo.yaml")
    return load_recipe(read_yaml(path) or {}, trained=lambda dataset: trained_in(folder / Layout.of(dataset).root))


def trained_in(results: Path | str) -> set[str]:
    """Return the names of the models in the results of a dataset; a failed job leaves none."""
    folder = Path(Layout(results).models)
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def _with_defaults(stage: Any, defaults: Mapping[str, Any]) -> Any:
    """Fill in the defaults that the stage's family has; the schema reports values that are not stages."""
    name = stage.get("family") if isinstance(stage, Mapping) else None
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        return stage
    replaced = {key for keys in ALTERNATIVES if keys & set(stage) for key in keys}
    return {k: v for k, v in defaults.items() if k in family.model_fields and k not in replaced} | dict(stage)
