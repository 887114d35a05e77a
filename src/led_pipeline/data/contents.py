"""Contents: digests of the files and folders that a recipe names, by which a run knows that one of them was replaced.

Dates say little: an unpacked or copied file may be older than the one it replaces. What was read once is noted with
what the file system says of it (size, dates, inode), and is read again only where that is another. Imports no torch.
"""

import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from led_pipeline.data.formats.streams import in_archive, member, on_disk, opened_archive
from led_pipeline.files.atomic import size, write_json
from led_pipeline.files.digests import digest, fingerprint
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json

# A file system's clock may tick this seldom: a file that changed so shortly before it was read is read again next time.
SETTLED_NS = 2_000_000_000
LARGE = 1_000_000_000  # bytes from which it is said that a file is read


class Contents:
    """Digests, noted in a JSON file: path -> its SHA-256 and the status that it had then."""

    def __init__(self, notes: Path | str) -> None:
        self._path = Path(notes)
        self._notes: dict[str, Any] | None = None
        self._just_read: dict[tuple[str | int, ...], str] = {}  # by this process

    def file(self, path: Path | str) -> str:
        """Return the digest of a file, or of a member of a zip archive that a path leads through.

        A file that is gone has the digest it had last: what was made from it is as good as before.

        Raises:
            InputError: it is not there and never was, it is no file, or it cannot be read.
        """
        name, where = _text(path), on_disk(path)
        try:
            status = where.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: no regular file, expected one that can be read several times")
            return self._of_unchanged(name, status) or self._read(path, name, status)
        except FileNotFoundError:
            if name in self.notes:
                return self.notes[name]["sha256"]
            raise InputError(f"{path}: no such file; correct its name in the config, or bring it there") from None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}, expected a file that can be read") from error

    def folder(self, path: Path | str, without: Sequence[str] = ()) -> str:
        """Return the digest of all files in a folder, by name and content; hidden ones do not count.

        A folder that is gone has the digest it had last. One that never was may still come (a model of another run);
        the preflight and the job that needs it say so.

        Args:
            without: patterns of names that do not count either.

        Raises:
            InputError: something in it cannot be read.
        """
        note = " ".join([f"{_text(path)}/", *without])
        if not Path(path).is_dir():
            return self.notes.get(note, {"sha256": "not there"})["sha256"]
        names = [name for name in _files(Path(path)) if not any(fnmatch(Path(name).name, one) for one in without)]
        value = fingerprint({_text(name): self.file(Path(path, name)) for name in names})
        self._note(note, value, None)
        return value

    @property
    def notes(self) -> dict[str, Any]:
        if self._notes is None:
            self._notes = read_json(self._path) if self._path.exists() else {}
        return self._notes

    def _of_unchanged(self, name: str, status: os.stat_result) -> str | None:
        known, signature = self.notes.get(name, {}), _signature(status)
        return known["sha256"] if known.get("status") == signature else self._just_read.get((name, *signature))

    def _read(self, path: Path | str, name: str, status: os.stat_result) -> str:
        if status.st_size >= LARGE:
            print(f"{path}: reading {size(status.st_size)}, to see later whether it changes", file=sys.stderr)
        now, signature = time.time_ns(), _signature(status)
        value = self._just_read[name, *signature] = _digest(path)
        settled = now - status.st_ctime_ns > SETTLED_NS and signature == _signature(on_disk(path).stat())
        self._note(name, value, signature if settled else None)
        return value

    def _note(self, name: str, value: str, status: list[int] | None) -> None:
        note = {"sha256": value, "status": status}
        if self.notes.get(name) != note:
            self.notes[name] = note
            folder = next(parent for parent in self._path.parents if parent.is_dir())
            if os.access(folder, os.W_OK):  # whoever may only look at results reads the file again
                write_json(self._path, dict(sorted(self.notes.items())))


def _digest(path: Path | str) -> str:
    inside = in_archive(path)
    if inside is None:
        return digest(path)
    with opened_archive(inside[0]) as archive, archive.open(member(archive, inside[1])) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield the regular files in a folder, sorted, relative to it; links are followed, each folder is entered once."""
    names, entered = [], set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        folders[:] = [] if real in entered else [name for name in folders if not name.startswith(".")]
        if real not in entered:
            paths = [Path(where, name) for name in files if not name.startswith(".")]
            names += [str(path.relative_to(folder)) for path in paths if path.is_file()]
        entered.add(real)
    yield from sorted(names)


def _signature(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


def _text(path: Path | str) -> str:
    """Return a path as text that JSON can hold, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
