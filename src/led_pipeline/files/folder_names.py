"""Folder names: a folder of its own under results/ for every model, tokenizer and hub id that a recipe names.

An ordinary name is its own folder but for its slash. Any other is the part of it that can be read, and a short digest
of the whole, since two names may differ in what a folder cannot show. Imports no torch.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping

from led_pipeline.files.errors import InputError

LONGEST = 60  # characters of a name that a folder with a digest shows
_PART = r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*"  # no two signs in a row, none at an end
_HUB = re.compile(rf"{_PART}(?:/{_PART})?(?:@{_PART})?")
_TOKENIZER = re.compile(r"[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*)?")
_ORDINARY_LENGTH = 120


def of_hub(name: str) -> str:
    """Return the folder of a hub id, with @revision or without."""
    ordinary = len(name) <= _ORDINARY_LENGTH and _HUB.fullmatch(name)
    return name.replace("/", "--") if ordinary else _with_digest(re.sub(r"[^A-Za-z0-9._@-]+", "--", name), name)


def of_tokenizer(name: str, stages: Iterable[str], local: bool) -> str:
    """Return the folder of a tokenizer's texts: of the stage that makes it, of a hub id, or of a local folder.

    Args:
        stages: the recipe's; no other tokenizer gets the name of one.
        local: whether the name is a path. Two spellings of one path have one folder.
    """
    stages = list(stages)
    if name in stages:
        return name
    whole = os.path.relpath(name) if local else name
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", whole)
    taken = plain.casefold() in (stage.casefold() for stage in stages)
    if not local and not taken and len(name) <= _ORDINARY_LENGTH and _TOKENIZER.fullmatch(name):
        return plain
    return _with_digest(plain, whole)


def _with_digest(shown: str, whole: str) -> str:
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return "+".join(filter(None, [shown.strip("_.-@")[-LONGEST:].lstrip("_.-@"), digest]))


def check(folders: Mapping[str, str]) -> None:
    """Check that different names have folders that differ on a file system that ignores case, too.

    Raises:
        InputError: two do not; the message names both.
    """
    first: dict[str, str] = {}
    for name, folder in folders.items():
        other = first.setdefault(folder.casefold(), name)
        if other != name:
            raise InputError(
                f"recipe: '{other}' and '{name}' differ in a way that not every file system can tell apart (folder"
                f" {folder}); write them alike if they are the same, or rename one"
            )
