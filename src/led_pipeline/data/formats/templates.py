"""Templates: one text out of several fields of a record, `{title} {text}` or `{meta.author}: {text}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from led_pipeline.recipe.dataset import TEMPLATE_FIELD


class MissingFieldError(Exception):
    """A record lacks a field that a template names; the message is the end of a sentence about it."""


@dataclass(frozen=True)
class Template:
    """A template, and whether a field that a record lacks (or has as null) is an error or empty."""

    text: str
    missing: str = "error"

    @property
    def _parts(self) -> list[str]:
        return re.split(TEMPLATE_FIELD, self.text)  # literal text and field names in turn

    def render(self, record: Mapping[str, Any]) -> str:
        """Return the text of a record; white space at its ends is dropped.

        Raises:
            MissingFieldError: a field is missing and that is an error, or it is neither text nor a number.
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
                f"no field '{field}', which the template names; there are {', '.join(record)}; correct"
                " dataset.templates, or set dataset.templates.missing: empty"
            )
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
            raise MissingFieldError(f"field '{field}' is {str(value)[:40]!r}, expected text or a number")
        return "" if value is None else str(value)
