"""Turn pydantic's errors about a config into sentences that name the key and the nearest right one."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from led_pipeline.recipe.old_words import dotted
from led_pipeline.recipe.schema import LARGEST

LIMITS = {  # bounds in a JSON schema and in pydantic's errors -> words
    "minimum": "at least",
    "ge": "at least",
    "exclusiveMinimum": "above",
    "gt": "above",
    "maximum": "at most",
    "le": "at most",
    "exclusiveMaximum": "below",
    "lt": "below",
}


def nearest(name: object, names: Iterable[str]) -> str:
    """Return " (did you mean X?)" with the most similar of the names, or the empty string."""
    match = difflib.get_close_matches(str(name), [str(each) for each in names], n=1, cutoff=0.6)
    return f" (did you mean {match[0]}?)" if match else ""


class _Hidden:
    def __repr__(self) -> str:
        return "a value that is not shown here"


def sentences(
    error: ValidationError, root: type[BaseModel], config: Mapping[str, Any], secret: Collection[str] = ()
) -> list[str]:
    """Return one sentence per fault, by the keys of the config as its author wrote it; repeated ones only once.

    Args:
        secret: keys whose values must not be shown, nor the mappings and lists that may hold them.
    """
    details = error.errors()
    for each in details:
        value = each.get("input")
        if secret and (isinstance(value, (Mapping, list)) or not set(secret).isdisjoint(each["loc"])):
            each["input"] = _Hidden()
    return list(dict.fromkeys(_sentence(each, root, config) for each in details))


def _sentence(details: ErrorDetails, root: type[BaseModel], config: Mapping[str, Any]) -> str:
    location = _without_tags(details["loc"], config)
    key = dotted(location) or "the config"
    value = details.get("input")
    match details["type"]:
        case "extra_forbidden":
            fields = _fields(root, details["loc"][:-1])
            return f"{key}: no such key{nearest(str(location[-1]), fields) or _choices(fields)}"
        case "missing":
            return f"{key}: this key is required"
        case "union_tag_invalid":
            expected = str((details.get("ctx") or {}).get("expected_tags", "")).replace("'", "")
            tag = value.get("family") if isinstance(value, Mapping) else value
            return f"{key}.family: no family '{tag}'{nearest(tag, expected.split(', '))}; there are {expected}"
        case "union_tag_not_found":
            return f"{key}.family: this key is required (pretrain, dense, lexicon or ranker)"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{key}: expected a mapping of keys to values, got {'nothing' if value is None else short(value)}"
        case "literal_error":
            expected = str((details.get("ctx") or {}).get("expected", ""))
            options = [option.strip(" '") for option in expected.replace(" or ", ", ").split(",")]
            return f"{key}: {short(value)} is not one of {', '.join(options)}{nearest(value, options)}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"{key}: expected a number that is {_bounds(root, details)}, got {short(value)}"
        case _:
            return f"{key}: {details['msg'][0].lower()}{details['msg'][1:]}, got {short(value)}"


def short(value: Any) -> str:
    """Return the repr of a value for an error message; only the beginning of a long one."""
    try:
        text = repr(value)
    except ValueError:  # Python does not convert integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"


def _without_tags(location: tuple[int | str, ...], config: Any) -> list[int | str]:
    """Drop the parts of a location that are union tags and not keys of the config."""
    keys: list[int | str] = []
    for i, part in enumerate(location):
        if keys[:1] == ["stages"] and i == 2:
            continue  # the discriminator's value, for example 'dense'
        keys.append(part)
    keys = [part for part in keys if part not in ("[key]", "[name]", "[source]")]
    if keys[:1] == ["stages"] and len(keys) > 2 and keys[2] in (config.get("defaults") or {}):
        stage = config["stages"][keys[1]]
        if keys[2] not in stage:
            return ["defaults", *keys[2:]]
    return keys


def _bounds(root: type[BaseModel], details: ErrorDetails) -> str:
    """Return both bounds of a number in words; the bound LARGEST only if it was exceeded."""
    *place, name = details["loc"]
    schemas = [m.model_json_schema()["properties"][name] for m in _sections(root, place) if name in m.model_fields]
    options = [option for schema in schemas for option in schema.get("anyOf", [schema])] + [details.get("ctx", {})]
    bounds = ({words: option[key] for key, words in LIMITS.items() if key in option} for option in options)
    limits = next(filter(None, bounds))
    if details["type"].startswith("greater") and limits.get("at most") == LARGEST:
        del limits["at most"]
    return " and ".join(f"{words} {limit}" for words, limit in limits.items())


def _fields(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys of the section at a location."""
    return sorted({name for section in _sections(model, location) for name in section.model_fields})


def _sections(model: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """Return the sections that may be at a location."""
    section: Any = model
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation if part in section.model_fields else section
        else:
            models = _models(section)
            tagged = [m for m in models if part in get_args(getattr(m.model_fields.get("family"), "annotation", None))]
            section = (tagged or models or [section])[0] if tagged or len(models) == 1 else section
    return [section] if isinstance(section, type) and issubclass(section, BaseModel) else _models(section)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the model classes inside an annotation such as dict[str, A | B] or list[A]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models(argument)]


def _choices(names: list[str]) -> str:
    return f"; there are {', '.join(names)}" if names else ""
