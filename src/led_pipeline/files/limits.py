"""Limits on the size and nesting of input files, so that no small file can take all memory or an hour.

No honest publisher's file comes near the defaults, and the error about an exceeded limit names it. The environment
variable LED_LIMITS sets others: `LED_LIMITS=line=256000000,grade=5000`. No result depends on a limit: a file is either
read in full or refused. docs/guides/own-data.md lists them.
"""

import os
from dataclasses import dataclass, fields
from functools import cache

from led_pipeline.files.errors import InputError

VARIABLE = "LED_LIMITS"


@dataclass(frozen=True)
class Limits:
    """The most that an input file may contain."""

    line: int = 32_000_000  # bytes of one line
    whole: int = 8_000_000_000  # bytes, decompressed, of JSON and pickles, which are read at once
    config: int = 16_000_000  # bytes of a YAML file
    expansion: int = 250  # decompressed size as a multiple of the compressed size, beyond the first 256 MB
    nesting: int = 100  # levels of lists and objects in JSON and YAML
    entries: int = 200_000  # values of a YAML file; an alias counts as all the values it refers to
    id: int = 1_000  # characters of an id
    grade: int = 1_000  # of a judgement, on either side of 0: trec_eval allocates memory by the highest grade


_HIGHEST = {"nesting": 200, "grade": 1_000_000}  # bounded by Python's stack and trec_eval's tables
FREE_EXPANSION = 256_000_000  # bytes that a compressed file may always expand to


@cache
def limits() -> Limits:
    """Return the limits of this process.

    Raises:
        InputError: LED_LIMITS names an unknown limit, or its value is not a positive number.
    """
    limit_names = [field.name for field in fields(Limits)]
    values = {}
    for part in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in limit_names or not (
            number.isascii() and number.isdecimal() and len(number) < 19 and int(number)
        ):
            raise InputError(f"{VARIABLE}: '{part}', expected name=number with one of {', '.join(limit_names)}")
        if int(number) > _HIGHEST.get(name, int(number)):
            raise InputError(f"{VARIABLE}: '{part}', expected at most {_HIGHEST[name]:,}")
        values[name] = int(number)
    return Limits(**values)


def over(name: str) -> str:
    """Return the end of the error sentence about an exceeded limit."""
    return f"more than the {getattr(limits(), name):,} that {VARIABLE} allows ({name})"
