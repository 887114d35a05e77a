"""Digests: of the bytes of a file, and of a value."""

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(path: Path | str, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def fingerprint(value: Any) -> str:
    """Return 16 hex digits that change when a JSON-serialisable value changes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
