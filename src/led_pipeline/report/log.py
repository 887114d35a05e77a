"""Training logs: the lines of a stage's train.jsonl as curves and a summary."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import NotJson, parse_json, read_text

_NOT_A_TERM = {"step", "learning_rate", "seconds", "speed", "health"}
_NOT_A_SIGN = {"seconds_left"}

Curve = dict[int, float]  # step -> value, ascending


@dataclass(frozen=True)
class TrainLog:
    """The curves of one training run; a step that was logged twice, before and after a resume, counts once."""

    terms: dict[str, Curve] = field(default_factory=dict)  # loss first, then its terms
    validation: dict[str, Curve] = field(default_factory=dict)
    signs: dict[str, Curve] = field(default_factory=dict)  # learning rate, speeds, and signs of health
    finished: dict[str, Any] | None = None  # the closing line, if the run reached it

    def summary(self) -> dict[str, Any]:
        """Return what there is to say in a line: steps, time, last loss (None if not finite), best validation."""
        best = {
            name: max(filter(math.isfinite, curve.values()), default=None) for name, curve in self.validation.items()
        }
        last = {name: list(curve.values())[-1] for name, curve in self.terms.items()}
        return {
            "finished": self.finished is not None,
            "steps": (self.finished or {}).get("steps"),
            "best_step": (self.finished or {}).get("best_step"),
            "seconds": (self.finished or {}).get("seconds"),
            "last": {name: value if math.isfinite(value) else None for name, value in last.items()},
            "best_validation": best,
        }


def read_train_log(path: Path) -> TrainLog:
    """Read a train.jsonl.

    Raises:
        InputError: a line is not a JSON object, or lacks its step.
    """
    log = TrainLog()
    finished = None
    for number, line in enumerate(read_text(path, "the log of a training").splitlines(), 1):
        where = f"{path}:{number}"
        entry = _entry(line, where)
        if entry.get("finished"):
            finished = entry
            continue
        if type(entry.get("step")) is not int:
            raise InputError(f"{where}: a log line needs a step; train the stage again")
        curves = log.validation if "validation" in entry else log.terms
        values = entry.get("validation") or {key: v for key, v in entry.items() if key not in _NOT_A_TERM}
        for name, value in values.items() if isinstance(values, dict) else [("validation", None)]:
            curves.setdefault(name, {})[entry["step"]] = _number(name, value, where)
        for name, value in _signs(entry).items():
            log.signs.setdefault(name, {})[entry["step"]] = _number(name, value, where)
    return TrainLog(_sorted(log.terms), _sorted(log.validation), _sorted(log.signs), finished)


def _signs(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the learning rate, the speeds and the signs of health of a line."""
    groups = [each for key in ("speed", "health") if isinstance(each := entry.get(key), dict)]
    rate = {"learning_rate": entry["learning_rate"]} if "learning_rate" in entry else {}
    return rate | {name: v for group in groups for name, v in group.items() if name not in _NOT_A_SIGN}


def _number(name: str, value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or _too_large(value):
        raise InputError(f"{where}: {name} is {str(value)[:40]!r}, expected a number; train the stage again")
    return float(value)


def _too_large(value: int | float) -> bool:
    """Return whether a whole number does not fit into a float."""
    return isinstance(value, int) and abs(value) > 1e300


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        entry = parse_json(line)
    except NotJson as error:
        raise InputError(f"{where}: {error}; train the stage again") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected a JSON object, got {line.strip()[:40]!r}; train the stage again")
    return entry


def _sorted(curves: dict[str, Curve]) -> dict[str, Curve]:
    names = sorted(curves, key=lambda name: name != "loss")  # stable: the terms stay as they are logged
    return {name: dict(sorted(curves[name].items())) for name in names}
