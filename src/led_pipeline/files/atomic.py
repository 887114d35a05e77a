"""Atomic: publish a file or a folder whole or not at all, and say in one sentence that a disk is full."""

import errno
import json
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from led_pipeline.files.digests import fingerprint
from led_pipeline.files.errors import InputError

# What says that a disk is full, a quota used up or a file larger than allowed, by number and in words of libraries.
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded", errno.EFBIG: "File too large"}
_PARTLY_WRITTEN = re.compile(r"\d+ requested and \d+ written")  # numpy, which gives no reason
NOTHING_LEFT = 65_536  # bytes free below which any failure to write is put down to the disk


@contextmanager
def atomic(path: Path | str, needs: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block ends without an error.

    The block may create a file or a folder there. On an error, an interrupt included, what was written is removed
    and whatever stood at `path` before stays. What is at `path` is whole after a power loss, too: its bytes are on the
    disk before its name is. A folder that replaces another one may then be missing, but is never a mixture.

    Args:
        path: where the result shall lie.
        needs: the bytes that will be written, where they are known: without room for them nothing is begun.

    Raises:
        InputError: the disk is full; the message says what was needed and what there was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unfinished(path)
    if needs > (free := shutil.disk_usage(path.parent).free):
        raise InputError(_no_room(path, f"{size(needs)} are needed", free, "nothing was written"))
    try:
        with naming_a_full_disk(path, temporary, needs, "; what was written is removed"):
            yield temporary
            keep_through_power_loss(temporary)
            if path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        remove(temporary)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, for what is needed on the way to a result, and remove it at the end."""
    folder = _unfinished(path)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


@cache
def _here() -> str:
    """Return 8 hex digits that the processes of this machine share since it was started, those of a container apart."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return fingerprint([boot, str(Path("/proc/self/ns/pid").readlink())])[:8]
    return fingerprint([platform.node()])[:8]


def _unfinished(path: Path) -> Path:
    """Return a hidden name beside `path` that says which process writes there."""
    return path.with_name(f".{path.name}.{_here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


_UNFINISHED = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.part")
ABANDONED_S = 86_400  # after which nothing is left of a process that cannot be looked up


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove, and return, what processes that have ended left unfinished under a folder.

    What another machine wrote, or this one before it was started again, goes when it is a day old.
    """
    removed = []
    for path in sorted(folder.rglob(".*.part")):
        name = _UNFINISHED.fullmatch(path.name)
        with suppress(FileNotFoundError):  # finished, or removed with the folder that held it
            if name and (
                not _runs(int(name[2])) if name[1] == _here() else time.time() - path.stat().st_mtime > ABANDONED_S
            ):
                remove(path)
                removed.append(path)
    return removed


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def keep_through_power_loss(path: Path) -> None:
    """Wait until a file, or all files under a folder, are on the disk and not only on their way to it."""
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if not each.is_symlink():
            _sync(each)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot wait, for folders above all
            raise
    finally:
        os.close(file)


def full_disk(error: BaseException) -> str:
    """Return in what words an error says that there is no room, or the empty string."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return _FULL[error.errno]
    text = str(error)
    partly = _PARTLY_WRITTEN.search(text) if isinstance(error, OSError) else None
    return next((words for words in _FULL.values() if words in text), partly[0] if partly else "")


@contextmanager
def naming_a_full_disk(path: Path, written: Path | None = None, needs: int = 0, after: str = "") -> Iterator[None]:
    """Turn what a library raises while it writes to a full disk into an `InputError` that names the result.

    Args:
        written: where it writes on the way to `path`, unless in place.
        needs: as of `atomic`.
        after: what becomes of the bytes that were written, as the end of the sentence.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        free, used = shutil.disk_usage(path.parent).free, tree_bytes(written or path)
        reason = full_disk(error) or (str(error) if free < NOTHING_LEFT else "")
        if not reason:
            raise
        wanted = f"{size(needs)} are needed" if needs else f"more than {size(free + used)} are needed"
        raise InputError(_no_room(path, wanted, free + used, f"{reason}{after}")) from error


def _no_room(path: Path, wanted: str, free: int, what: str) -> str:
    return (
        f"{path}: {wanted} and {size(free)} were free ({what}); make room on that disk and start again, all that is"
        " finished stays (`led plan` says what a recipe takes)"
    )


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that leaves it above 1."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def tree_bytes(path: Path, without: Callable[[str], bool] = lambda name: False) -> int:
    """Return the bytes of a file, or of all files under a folder; 0 if it is not there.

    Args:
        without: names of files and folders under it that do not count.
    """
    total = 0
    for each in path.rglob("*") if path.is_dir() else [path]:
        if any(map(without, each.relative_to(path).parts)):
            continue
        with suppress(FileNotFoundError):  # a run may remove what it no longer needs
            status = each.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
