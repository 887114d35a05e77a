"""Limits: how large or how deep what is read may be, so that no small file takes all memory or an hour.

Every limit has a default that no file of an honest publisher has come near, and is named in the sentence that it ends
the reading with. The environment variable LED_LIMITS sets others: `LED_LIMITS=line=256000000,grade=5000`. No result
depends on a limit: a file is either read whole or refused. docs/guides/own-data.md lists them.
"""

import os
from dataclasses import dataclass, fields
from functools import cache

from led_pipeline.files.errors import InputError

VARIABLE = "LED_LIMITS"


@dataclass(frozen=True)
class Limits:
    """What a file that is read may have at most."""

    line: int = 32_000_000  # bytes of one line
    whole: int = 8_000_000_000  # bytes, decompressed, of JSON and pickles, which are read at once
    config: int = 16_000_000  # bytes of a YAML file
    expansion: int = 250  # how many times its own size a compressed file may become, beyond its first 256 MB
    nesting: int = 100  # lists and objects inside one another, in JSON and YAML
    entries: int = 200_000  # values of a YAML file, an alias counted as all that it stands for
    id: int = 1_000  # characters of an id
    grade: int = 1_000  # of a judgement, on either side of 0: trec_eval takes memory by the highest grade


_HIGHEST = {"nesting": 200, "grade": 1_000_000}  # what Python's stack and trec_eval's tables can take
FREE_EXPANSION = 256_000_000  # bytes that a compressed file may always become


@cache
def limits() -> Limits:
    """Return the limits of this process.

    Raises:
        InputError: LED_LIMITS names a limit that there is not, or no number for it.
    """
    known = [field.name for field in fields(Limits)]
    values = {}
    for part in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in known or not (number.isascii() and number.isdecimal() and len(number) < 19 and int(number)):
            raise InputError(f"{VARIABLE}: '{part}', expected name=number with one of {', '.join(known)}")
        if int(number) > _HIGHEST.get(name, int(number)):
            raise InputError(f"{VARIABLE}: '{part}', expected at most {_HIGHEST[name]:,}")
        values[name] = int(number)
    return Limits(**values)


def over(name: str) -> str:
    """Return the end of the sentence about a limit that is passed."""
    return f"more than the {getattr(limits(), name):,} that {VARIABLE} allows ({name})"
