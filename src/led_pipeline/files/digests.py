"""Digests of files and of JSON values."""

import hashlib
import json
from pathlib import Path


def digest(path: Path | str, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def fingerprint(value: object) -> str:
    """Return 16 hex digits that change when a JSON-serialisable value changes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
