"""Render a text from several fields of a record, by a template such as `{title} {text}` or `{meta.author}: {text}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from led_pipeline.recipe.dataset import TEMPLATE_FIELD


class MissingFieldError(Exception):
    """A record lacks a field of the template; the message is a sentence without the file and line."""


@dataclass(frozen=True)
class Template:
    """A template, and how it treats a field that a record lacks or has as null: "error" or "empty"."""

    text: str
    missing: str = "error"

    @property
    def _parts(self) -> list[str]:
        return re.split(TEMPLATE_FIELD, self.text)  # literal texts and field names alternate

    @property
    def fields(self) -> list[str]:
        """The names of the fields, nested ones with dots."""
        return self._parts[1::2]

    def render(self, record: Mapping[str, Any]) -> str:
        """Return the text of a record, stripped of white space at its ends.

        Raises:
            MissingFieldError: a field is missing and `missing` is "error", or it is neither text nor a number.
        """
        parts = self._parts
        filled = [self._value(record, part) if i % 2 else part for i, part in enumerate(parts)]
        return "".join(filled).strip()

    def _value(self, record: Mapping[str, Any], field: str) -> str:
        value: Any = record
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None and self.missing == "error":
            raise MissingFieldError(
                f"no field '{field}', which the template names; the record has {', '.join(record)}; correct"
                " dataset.templates, or set dataset.templates.missing: empty"
            )
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            raise MissingFieldError(f"field '{field}' is {str(value)[:40]!r}, expected text or a number")
        return "" if value is None else str(value)
