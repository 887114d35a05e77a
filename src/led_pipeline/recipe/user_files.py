"""The user's files that a stage's settings name: its own losses, poolings and encoders, and a table of query weights.

Which keys may name one is marked in `settings` and `values` (`UserCode`, `UserFile`).
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from led_pipeline import user_code
from led_pipeline.recipe.schema import Section
from led_pipeline.recipe.values import UserCode, UserFile

T = TypeVar("T", bound=Section)


def renamed(settings: T, rename: Callable[[str], str], keys: Iterable[str] | None = None) -> T:
    """Return settings with another name for each of the user's files; a function in a file keeps its name.

    Args:
        keys: those to look at; all unless given.
    """
    section = type(settings)
    names = section.model_fields if keys is None else keys
    return settings.model_copy(update={key: _renamed(getattr(settings, key), section, key, rename) for key in names})


def _renamed(value: Any, section: type[Section], key: str, rename: Callable[[str], str]) -> Any:
    if isinstance(value, Section):
        return renamed(value, rename)
    if isinstance(value, list):
        return [_renamed(item, section, key, rename) for item in value]
    for mark in section.model_fields[key].metadata:
        if isinstance(mark, UserCode) and user_code.is_reference(value):
            file, _, name = value.rpartition(":")
            return f"{rename(file)}:{name}"
        if isinstance(mark, UserFile) and value is not None and value not in mark.words:
            return rename(value)
    return value


def files(settings: Section) -> list[str]:
    """Return the files of the user's that settings name, each once, in the order of the keys."""
    files: dict[str, None] = {}

    def note(file: str) -> str:
        files[file] = None
        return file

    renamed(settings, note)
    return list(files)
