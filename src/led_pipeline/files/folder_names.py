"""Map every model, tokenizer and hub id that a recipe names to a folder name of its own under results/.

An ordinary name keeps its spelling except for the slash. Any other becomes its readable part and a short digest of the
full name, since two names may differ in characters that a folder name cannot have. Imports no torch.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping

from led_pipeline.files.errors import InputError

LONGEST = 60  # characters of a name that are kept in front of a digest
_PART = r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"  # no two separators in a row, none at either end
_HUB = re.compile(rf"{_PART}(?:/{_PART})?(?:@{_PART})?")
_TOKENIZER = re.compile(r"[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*)?")
_ORDINARY_LENGTH = 120


def of_hub(name: str) -> str:
    """Return the folder name of a hub id, with or without @revision."""
    ordinary = len(name) <= _ORDINARY_LENGTH and _HUB.fullmatch(name)
    return name.replace("/", "--") if ordinary else _with_digest(re.sub(r"[^A-Za-z0-9._@-]+", "--", name), name)


def of_tokenizer(name: str, stages: Iterable[str], local: bool) -> str:
    """Return the folder name for texts tokenised with a stage's tokenizer, a hub id or a local folder.

    Args:
        stages: names of the recipe's stages; no other tokenizer gets one of these folder names.
        local: whether the name is a path. Two spellings of one path map to the same folder name.
    """
    stages = list(stages)
    if name in stages:
        return name
    whole = os.path.relpath(name) if local else name
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", whole)
    is_stage = plain.casefold() in (stage.casefold() for stage in stages)
    if not local and not is_stage and len(name) <= _ORDINARY_LENGTH and _TOKENIZER.fullmatch(name):
        return plain
    return _with_digest(plain, whole)


def _with_digest(readable: str, full_name: str) -> str:
    digest = hashlib.sha256(os.fsencode(full_name)).hexdigest()[:8]
    return "+".join(filter(None, [readable.strip("_.-@")[-LONGEST:].lstrip("_.-@"), digest]))


def check(folders: Mapping[str, str]) -> None:
    """Check that different names map to folder names that differ in more than case.

    Raises:
        InputError: two names do not; the message names both.
    """
    first: dict[str, str] = {}
    for name, folder in folders.items():
        other = first.setdefault(folder.casefold(), name)
        if other != name:
            raise InputError(
                f"recipe: '{other}' and '{name}' differ in a way that not every file system can tell apart (folder"
                f" {folder}); write them alike if they are the same, or rename one"
            )
