"""Variants: smaller vectors of a dense stage as systems, without training or encoding. Imports no torch."""

from typing import Literal

from led_pipeline.recipe.schema import Name, Positive, Section

Precision = Literal["float16", "int8", "binary"]


class Variant(Section):
    """The vectors of a dense stage, shortened or with fewer bits; a row of every table."""

    of: Name
    """a dense stage"""
    dimensions: Positive | None = None
    """number of first dimensions to keep; all by default"""
    precision: Precision = "float16"
    """How a dimension of a passage is stored: 16 bits; 8 bits, a step between its least and its highest value; or one
    bit, its sign. Queries keep their numbers, but with binary only their signs."""
    rescore: Positive | None = None
    """Find this number times as many passages with int8 or binary, and sort them by the float16 vectors; not at all by
    default."""


def bytes_per_passage(dimensions: int, precision: Precision) -> int:
    """Return the bytes of one passage's vector that a search reads; rescoring reads others for few passages."""
    return {"float16": 2 * dimensions, "int8": dimensions, "binary": -(-dimensions // 8)}[precision]


class VariantSettings(Variant):
    """What a search of a variant reads (--settings)."""

    normalize: bool = False
    """Whether the vectors of the stage have the length 1, which shortened ones then get again."""
