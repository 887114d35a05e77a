"""Parse scores and grades, and explain the values that are neither.

A score is a number that a 32-bit float can hold, as it is stored and as trec_eval compares it. A grade is a whole
number whose absolute value is within the limit `grade` (`files.limits`): the memory of trec_eval's nDCG grows with the
highest grade, and beyond 32 bits its results are silently wrong. A grade below 1 is not relevant.
"""

import math
from typing import Any

from led_pipeline.data.formats.lines import short
from led_pipeline.files.limits import limits, over

LARGEST_SCORE = 3.4028234663852886e38  # the largest finite float of 32 bits


def as_score(value: Any) -> float | None:
    """Return a number as a score, or None if it is not a valid one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST_SCORE <= value <= LARGEST_SCORE:
        return float(value)
    return None


def read_score(text: str) -> float | None:
    """Return the score in a text, or None if it is not a valid one."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if -LARGEST_SCORE <= score <= LARGEST_SCORE and text.isascii() and "_" not in text else None


def text_fault(text: str) -> str:
    """Return the sentence about a text that is not a valid score."""
    try:
        return score_fault(float(text) if text.isascii() and "_" not in text else text)
    except ValueError:
        return score_fault(text)


def score_fault(value: Any) -> str:
    """Return the sentence about a value that is not a valid score."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"score {short(value)}, expected a number"
    if not isinstance(value, int) and not math.isfinite(value):
        return f"the score is {value}, expected a finite number; check the model that scored it"
    return f"score {short(value)}, expected a number that 32 bits can hold, between -3.4e38 and 3.4e38"


def read_grade(text: str) -> int | None:
    """Return the grade in a text, or None if it is not a valid one; `grade_fault` explains why."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > 18:
        return None
    grade = -int(digits) if text.startswith("-") else int(digits)
    return grade if abs(grade) <= limits().grade else None


def as_grade(value: Any) -> int | None:
    """Return the grade in a text, or a whole number of JSON or of a table (1.0 is one), or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= limits().grade else None
    return read_grade(value) if isinstance(value, str) else None


def grade_fault(value: Any) -> str:
    """Return the sentence about a value that is not a valid grade."""
    text = value if isinstance(value, str) else str(value)[:40]
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal():
        return f"grade {short(value)} is {over('grade')}; are these grades?"
    return f"grade {short(value)}, expected a whole number"
