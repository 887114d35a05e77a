"""Own code: a pooling or an encoder from a file of the user's, named in the recipe as `path/to/file.py:name`.

The file is copied into the model's folder, so that the folder is all that is needed to use the model. Whoever loads
such a folder runs the code in it.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from led_pipeline.files import InputError

KEYS = ("pooling", "encoder")


def parts(value: Any) -> tuple[Path, str] | None:
    """Return file and name of `file.py:name`, or None for any other value of a setting."""
    file, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return (Path(file), name) if colon and file.endswith(".py") else None


def load_named(key: str, value: str) -> Any:
    """Return what a file defines under a name, for instance a function.

    Raises:
        InputError: there is no such file, importing it fails, or it defines no such name.
    """
    file, name = parts(value)
    if not file.is_file():
        raise InputError(f"{key}: no file '{file}'; relative paths start at the working directory")
    module = _import(key, file)
    if not callable(getattr(module, name, None)):
        raise InputError(f"{key}: '{file}' defines no function or class '{name}'")
    return getattr(module, name)


def _import(key: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"led_pipeline_own_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code does
        raise InputError(f"{key}: importing '{file}' failed: {type(error).__name__}: {error}") from error
    return module


def files(settings: Mapping[str, Any]) -> list[Path]:
    """Return the files of the user's that some settings name."""
    return [found[0] for key in KEYS if (found := parts(settings.get(key)))]


def copied(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the named files into a model's folder; return the settings that name the copies, relative to it."""
    changed = dict(settings)
    for key in KEYS:
        if found := parts(settings.get(key)):
            copy = f"own_{key}.py"
            shutil.copyfile(found[0], folder / copy)
            changed[key] = f"{copy}:{found[1]}"
    return changed


def inside(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings of a model's folder with the paths of the files in it."""
    found = {key: parts(settings.get(key)) for key in KEYS}
    return dict(settings) | {key: f"{folder / own[0]}:{own[1]}" for key, own in found.items() if own}
