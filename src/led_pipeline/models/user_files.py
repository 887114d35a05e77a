"""User files: copies of the user's code in a model's folder, so that the folder alone is enough to use the model.

A recipe names a pooling or an encoder as `path/to/file.py:name` (`led_pipeline.user_code`). Loading such a folder runs
the code in it.
"""

import shutil
from pathlib import Path
from typing import Any

from led_pipeline import user_code
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.representation import DenseRepresentation
from led_pipeline.recipe.step_settings import ModelSettings


def load(key: str, reference: str) -> Any:
    """Return the function or class that a key of the recipe names.

    Raises:
        InputError: there is no such file, it cannot be run, or it defines no such name.
    """
    try:
        return user_code.load(reference)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def copied(settings: ModelSettings, folder: Path) -> ModelSettings:
    """Copy the user's files into a model's folder; return settings that name the copies, relative to it."""
    changes = {}
    for key, reference in _references(settings).items():
        path, _, name = reference.rpartition(":")
        shutil.copyfile(path, folder / f"own_{key}.py")
        changes[key] = f"own_{key}.py:{name}"
    return settings.model_copy(update=changes)


def inside(settings: ModelSettings, folder: Path) -> ModelSettings:
    """Return the settings of a model's folder with the paths of the files in it."""
    references = _references(settings)
    return settings.model_copy(update={key: str(folder / reference) for key, reference in references.items()})


def _references(settings: ModelSettings) -> dict[str, str]:
    """Return the keys that name code in a file of the user's."""
    if not isinstance(settings, DenseRepresentation):
        return {}
    values = {"pooling": settings.pooling, "encoder": settings.encoder}
    return {key: value for key, value in values.items() if value is not None and user_code.is_reference(value)}
