"""Digest the files and folders that a recipe names, so that a run notices when one of them was replaced.

Dates say little: an unpacked or copied file may be older than the one it replaces. The digest of a file is noted with
its size, dates and inode, and the file is read again only if one of these changed. Imports no torch.
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

from led_pipeline.data.formats.streams import BUFFER_BYTES, in_archive, member, on_disk, opened_archive
from led_pipeline.files.atomic import size, write_json
from led_pipeline.files.digests import digest, fingerprint
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json

# Ticks of a file system's clock may be this far apart: a file changed this shortly before reading is read again.
SETTLED_NS = 2_000_000_000
LARGE = 1_000_000_000  # bytes from which reading a file is announced


class Contents:
    """Digests, noted in a JSON file: path -> SHA-256 and file status at the time of reading."""

    def __init__(self, notes: Path | str) -> None:
        self._path = Path(notes)
        self._notes: dict[str, Any] | None = None
        self._just_read: dict[tuple[str | int, ...], str] = {}  # by this process

    def file(self, path: Path | str) -> str:
        """Return the digest of a file, or of a member of a zip archive (`archive.zip/member`).

        For a deleted file, return its last digest: results made from it are still valid.

        Raises:
            InputError: the file does not exist and never did, it is not a regular file, or it cannot be read.
        """
        name, where = _text(path), on_disk(path)
        try:
            status = where.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: no regular file, expected one that can be read several times")
            return self._of_unchanged(name, status) or self._read(path, name, status)
        except FileNotFoundError:
            if name in self.notes:
                return str(self.notes[name]["sha256"])
            raise InputError(f"{path}: no such file; correct its name in the config, or bring it there") from None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}, expected a file that can be read") from error

    def folder(self, path: Path | str, without: Sequence[str] = ()) -> str:
        """Return the digest of the names and contents of all files in a folder, except hidden ones.

        For a deleted folder, return its last digest. A folder that does not exist yet may still be made (a model of
        another run); if not, the preflight and the job that needs it report it.

        Args:
            without: patterns of further names to leave out.

        Raises:
            InputError: a file in it cannot be read.
        """
        note = " ".join([f"{_text(path)}/", *without])
        if not Path(path).is_dir():
            return str(self.notes.get(note, {"sha256": "not there"})["sha256"])
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
        note, signature = self.notes.get(name, {}), _signature(status)
        return note["sha256"] if note.get("status") == signature else self._just_read.get((name, *signature))

    def _read(self, path: Path | str, name: str, status: os.stat_result) -> str:
        if status.st_size >= LARGE:
            print(f"{path}: reading {size(status.st_size)}, to notice later changes", file=sys.stderr)
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
            if os.access(folder, os.W_OK):  # without write access, the file is read again every time
                write_json(self._path, dict(sorted(self.notes.items())))


def _digest(path: Path | str) -> str:
    inside = in_archive(path)
    if inside is None:
        return digest(path)
    result = hashlib.sha256()
    with opened_archive(inside[0]) as archive, archive.open(member(archive, inside[1])) as file:
        while part := file.read(BUFFER_BYTES):
            result.update(part)
    return result.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield the regular files in a folder, sorted, relative to it; links are followed, and no folder is read twice."""
    names: list[str] = []
    entered: set[str] = set()
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
    """Return a path as text that JSON can hold; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
