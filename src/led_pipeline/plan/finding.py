"""Finding: the result of one check before a run."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fatal"]


@dataclass(frozen=True)
class Finding:
    level: Level
    """Whether it is all right, worth a note, or prevents the run."""
    subject: str
    """One word, such as disk or model."""
    text: str
    """A sentence; of what is not all right, with what to do."""
