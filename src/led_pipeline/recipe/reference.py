"""The reference page of the recipe: every key with its type, default, bounds, meaning and what it re-runs; its schema.

Types, defaults and bounds come from the pydantic models, the meaning from the docstring below each key, what re-runs
from `STEPS`. `led reference` prints the page; docs/reference/recipe.md is its output, and
config/recipe.schema.json that of `led reference --schema`.
"""

import json
import re
from collections.abc import Iterator
from inspect import getdoc
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import settings, steps
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import LARGEST, Name

INTRODUCTION = f"""\
# Every key of a recipe

Made by `led reference` from `src/led_pipeline/recipe/`; a test keeps the two equal. Edit the docstrings there.

NAME is a name that you choose: a letter, then letters, digits and underscores. Where no other bound is named, a
whole number is at most {LARGEST}; no number is infinite. The last column of stages names the settings (`STEPS`) that
hold a key: changing it re-runs the rules that read them (`trainset`: `draw`; `train`; `import`: `import_model`;
`inference`: vectors, and what a ranker scores; `pretrain`) and what follows. `running`: the training takes it up,
nothing re-runs. A dash: the key acts through what it names (`init`, `rerank`: other files are read), through one rule
alone (`quantisation`: the impact index), or on no result (`resources`)."""
# Titles of classes whose name is none.
TITLES = {"Seeded": "seed", "AnyStage": "every stage", "Trained": "stages with a model", "Retriever": "retrievers"}
NAME = TypeAdapter(Name).json_schema()["pattern"]
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
PLAIN = {"integer": "int", "number": "float", "string": "text", "boolean": "true, false", "null": "null", None: "any"}


def page() -> str:
    """Return the page as Markdown.

    Raises:
        InputError: a key has no docstring.
    """
    tables: dict[type[BaseModel], dict[type[BaseModel], list[str]]] = {}
    for cls, places in sections(Recipe).items():
        tables.setdefault(root_of(cls), {})[cls] = places
    return "\n\n".join([INTRODUCTION, *map(section_text, tables.values())]) + "\n"


def schema() -> str:
    """Return the JSON schema of a recipe, by which editors complete and check one."""

    def one_line(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: inner for key, inner in value.items() if key != "title" or isinstance(inner, dict)}
            return {key: one_line(inner) for key, inner in kept.items()}
        if isinstance(value, str) and "\n" in value:
            return " ".join(value.split())
        return [one_line(inner) for inner in value] if isinstance(value, list) else value

    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A recipe of led_pipeline"}
    return json.dumps(head | one_line(Recipe.model_json_schema()), indent=1, ensure_ascii=False) + "\n"


def sections(root: type[BaseModel]) -> dict[type[BaseModel], list[str]]:
    """Return every class of keys, in the order of the recipe, with the places where its keys may be."""
    found: dict[type[BaseModel], list[str]] = {}

    def visit(cls: type[BaseModel], place: str) -> None:
        for base in reversed(cls.__mro__):
            if issubclass(base, BaseModel) and set(base.__annotations__) & base.model_fields.keys():
                found.setdefault(base, [])
                found[base] += [place] if place not in found[base] else []
        for name, field in cls.model_fields.items():
            for inner, suffix in _models(field.annotation):
                visit(inner, f"{place}.{name}{suffix}".lstrip("."))

    visit(root, "")
    return found


def _models(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the classes of keys inside an annotation, with what their place adds to the key: .NAME, [] or a family."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = annotation.model_fields.get("family")
        yield annotation, suffix + (f" (family: {get_args(tag.annotation)[0]})" if tag else "")
        return
    origin = get_origin(annotation)
    suffix += ".NAME" if origin is dict else "[]" if origin is list else ""
    for argument in get_args(annotation):
        yield from _models(argument, suffix)


def section_text(classes: dict[type[BaseModel], list[str]]) -> str:
    """Return some classes of keys as a heading, a docstring and a table; of a stage's settings with their families."""
    first, places = next(iter(classes.items()))
    staged = any(place.startswith("stages") and "." not in place.partition(".NAME")[2] for place in places)
    rows = [["key", "type", "default", "meaning", *["families", "re-runs"] * staged]]
    for cls, where in classes.items():
        for name in [
            key for key in cls.__annotations__ if key in cls.model_fields and not _is_tag(cls.model_fields[key])
        ]:
            meaning = " ".join((cls.model_fields[name].description or "").split())
            if not meaning:
                raise InputError(f"{cls.__module__}: {cls.__name__}.{name} has no docstring, say its meaning below it")
            row = [f"`{name}`", kind(cls, name), default(cls.model_fields[name]), meaning]
            rows.append(row + [", ".join(families(where)), ", ".join(steps.steps_of(cls)) or "–"] * staged)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    title = f"`stages.NAME`: {TITLES.get(first.__name__, first.__name__.lower())}" if staged else heading(places)
    text = getdoc(first) if vars(first).get("__doc__") else ""
    return "\n\n".join(part for part in (f"## {title}", text, "\n".join(lines)) if part)


def root_of(cls: type[BaseModel]) -> type[BaseModel]:
    """Return the group of settings that a class of keys extends, or the class itself."""
    bases = reversed(cls.__mro__) if cls.__module__ == settings.__name__ else ()
    return next((base for base in bases if base in steps.GROUPS), cls)


def families(places: list[str]) -> list[str]:
    """Return the families of stages among some places."""
    return [place.partition(" (family: ")[2].rstrip(")") for place in places if place.endswith(")")]


def heading(places: list[str]) -> str:
    """Return the places of a class of keys as one title."""
    short = dict.fromkeys(re.sub(r" \(family: \w+\)", "", place) for place in places)
    return ", ".join(f"`{place}`" for place in short if place) or "The top level"


def kind(cls: type[BaseModel], name: str) -> str:
    """Return the type of a key with its bounds."""
    return _kind(cls.model_json_schema()["properties"][name])


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema or "oneOf" in schema or "discriminator" in schema:
        return "keys below"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(_kind, schema['prefixItems']))}]"
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), {})
        return f"NAME: {_kind(inner if isinstance(inner, dict) else {})}"
    if "pattern" in schema:
        return "NAME" if schema["pattern"] == NAME else f"text like `{schema['pattern'].strip('^$')}`"
    limits = {sign: schema[limit] for limit, sign in LIMITS.items() if limit in schema}
    bounds = [f"{sign} {_number(limit)}" for sign, limit in limits.items() if limit != LARGEST]
    return " ".join([PLAIN[schema.get("type")], ", ".join(bounds)]).strip()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def default(field: FieldInfo) -> str:
    """Return a key's default as YAML would say it; keys with keys below have theirs there."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "–"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _is_tag(field: FieldInfo) -> bool:
    """Return whether a key only says which class of keys it is in, as `family` does."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
