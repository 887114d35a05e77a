"""Numbers: what a score and a grade may be, and the sentence about one that is neither.

A score fits into 32 bits, in which it is stored and in which trec_eval compares. A grade is a whole number within the
limit of that name (`files.limits`), on either side of 0: trec_eval's nDCG takes memory by the highest grade, and goes
wrong without a word beyond 32 bits. A grade below 1 is not relevant; below 0 says the same more strongly.
"""

import math
from typing import Any

from led_pipeline.data.formats.lines import shown
from led_pipeline.files.limits import limits, over

LARGEST_SCORE = 3.4028234663852886e38  # the largest finite float of 32 bits


def as_score(value: Any) -> float | None:
    """Return a number as a score, None if it can be none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST_SCORE <= value <= LARGEST_SCORE:
        return float(value)
    return None


def read_score(text: str) -> float | None:
    """Return the score that a text says, None if it says none."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if -LARGEST_SCORE <= score <= LARGEST_SCORE and text.isascii() and "_" not in text else None


def text_fault(text: str) -> str:
    """Return the sentence about a text that says no score."""
    try:
        return score_fault(float(text) if text.isascii() and "_" not in text else text)
    except ValueError:
        return score_fault(text)


def score_fault(value: Any) -> str:
    """Return the sentence about a score that is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"score {shown(value)}, expected a number"
    if not isinstance(value, int) and not math.isfinite(value):
        return f"the score is {value}, expected a finite number; check the model that scored it"
    return f"score {shown(value)}, expected a number that 32 bits can hold, between -3.4e38 and 3.4e38"


def read_grade(text: str) -> int | None:
    """Return the grade that a text says, or None, which `grade_fault` explains."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > 18:
        return None
    grade = -int(digits) if text.startswith("-") else int(digits)
    return grade if abs(grade) <= limits().grade else None


def grade_fault(text: str) -> str:
    """Return the sentence about a text that is no grade."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal():
        return f"grade {shown(text)} is {over('grade')}; are these grades?"
    return f"grade {shown(text)}, expected a whole number"
