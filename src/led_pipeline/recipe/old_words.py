"""Replace reserved words of the previous version in a config; they are accepted for one version. Imports no torch."""

from collections.abc import Iterable, Mapping
from typing import Any

from led_pipeline.recipe.schema import QRELS

# Old word -> the keys in which it had the meaning of `qrels`; * is any name or index.
PLACES = {
    "labels": [
        (*stage, *key)
        for stage in (("defaults",), ("stages", "*"))
        for key in (
            ("negatives", "*"),
            ("negatives", "*", "system"),
            ("teachers", "*", "stage"),
            ("teachers", "*", "stages", "*"),
        )
    ],
    "judged": [("validation", "system")],
}


def replace(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a config with today's words, and one sentence per key that had an old one."""
    notes: list[str] = []

    def today(value: Any, key: tuple[str | int, ...]) -> Any:
        if isinstance(value, Mapping):
            return {name: today(child, (*key, name)) for name, child in value.items()}
        if isinstance(value, list):
            return [today(child, (*key, i)) for i, child in enumerate(value)]
        if isinstance(value, str) and any(_matches(key, place) for place in PLACES.get(value, ())):
            notes.append(f"{dotted(key)}: '{value}' is called '{QRELS}' now; the next version knows the new word only")
            return QRELS
        return value

    replaced = {name: today(value, (name,)) if name in _SECTIONS else value for name, value in config.items()}
    return replaced, notes


_SECTIONS = {place[0] for places in PLACES.values() for place in places}


def _matches(key: tuple[str | int, ...], place: tuple[str, ...]) -> bool:
    return len(key) == len(place) and all(pattern in ("*", part) for part, pattern in zip(key, place, strict=True))


def dotted(key: Iterable[str | int]) -> str:
    """Return a key as errors name it: stages.led.teachers[0].stage."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")
