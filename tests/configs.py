"""Configs for tests: those of this repository, and changes of some keys."""

import copy
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "config"
CONFIGS = {str(path.relative_to(FOLDER)): yaml.safe_load(path.read_text()) for path in FOLDER.rglob("*.yaml")}
# The other files beside them say where files come from and what was published.
RECIPES = {name: config for name, config in CONFIGS.items() if "stages" in config}


def changed(config: dict, changes: dict[str, Any]) -> dict:
    """Return a copy of a config with some keys set, by dotted path; list items by number."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
        section = config
        for part in path:
            section = section[part]
        section[last] = value
    return config


def without_extras(config: dict) -> dict:
    """Return a copy of a config without fusions, variants, what compares them, and times of searches."""
    config = copy.deepcopy(config)
    extras = {*config.pop("fusion", {}), *config.pop("variants", {})}
    evaluation = config["evaluation"]
    evaluation["timed_queries"] = 0
    evaluation["compare"] = [pair for pair in evaluation.get("compare", []) if not extras & set(pair)]
    return config
