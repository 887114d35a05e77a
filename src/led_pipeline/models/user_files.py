"""Own files: the user's code that a model is made of travels in the model's folder.

A pooling or an encoder is named in the recipe as `path/to/file.py:name` (`led_pipeline.user_code`). The folder is then
all that is needed to use the model. Whoever loads such a folder runs the code in it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from led_pipeline import user_code
from led_pipeline.files.errors import InputError

KEYS = ("pooling", "encoder")


def load(key: str, reference: str) -> Any:
    """Return the function or class that a key of the recipe names.

    Raises:
        InputError: there is no such file, it cannot be run, or it defines no such name.
    """
    try:
        return user_code.load(reference)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def copied(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the named files into a model's folder; return the settings that name the copies, relative to it."""
    changed = dict(settings)
    for key in KEYS:
        if user_code.is_reference(settings.get(key)):
            path, _, name = settings[key].rpartition(":")
            copy = f"own_{key}.py"
            shutil.copyfile(path, folder / copy)
            changed[key] = f"{copy}:{name}"
    return changed


def inside(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings of a model's folder with the paths of the files in it."""
    own = {key: settings[key] for key in KEYS if user_code.is_reference(settings.get(key))}
    return dict(settings) | {key: str(folder / reference) for key, reference in own.items()}
