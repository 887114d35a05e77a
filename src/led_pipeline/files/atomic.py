"""Publish files and folders atomically: complete or not at all; a full disk becomes one error sentence."""

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

from led_pipeline.files.digests import fingerprint
from led_pipeline.files.errors import InputError

# Disk full, quota exceeded or file size limit reached: the error numbers, and the words in libraries' messages.
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded", errno.EFBIG: "File too large"}
_PARTLY_WRITTEN = re.compile(r"\d+ requested and \d+ written")  # numpy's message, which gives no reason
NOTHING_LEFT = 65_536  # free bytes below which any failed write is blamed on the disk


@contextmanager
def atomic(path: Path | str, needs: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block ends without an error.

    The block may create a file or a folder there. On an error, including an interrupt, the temporary path is removed
    and the previous content of `path` stays. `path` is complete even after a power loss: its bytes reach the disk
    before its name does. A folder that replaces another may then be missing, but is never a mixture of the two.

    Args:
        path: the final path of the result.
        needs: the bytes that will be written, if known; nothing is started without room for them.

    Raises:
        InputError: the disk is full; the message says how much was needed and how much was free.
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
    """Yield a new folder beside `path` for intermediate files, and remove it at the end."""
    folder = _unfinished(path)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


@cache
def _process_scope() -> str:
    """Return 8 hex digits that identify the machine, its boot and the container: the scope of a process id."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return fingerprint([boot, str(Path("/proc/self/ns/pid").readlink())])[:8]
    return fingerprint([platform.node()])[:8]


def _unfinished(path: Path) -> Path:
    """Return a hidden name beside `path` that identifies the process writing there."""
    return path.with_name(f".{path.name}.{_process_scope()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


_UNFINISHED = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.part")
ABANDONED_S = 86_400  # age at which unfinished files of another machine or boot are removed


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove the unfinished files under a folder whose writers have ended, and return their paths.

    Files written on another machine, or here before a reboot, are removed once they are a day old.
    """
    removed = []
    for path in sorted(folder.rglob(".*.part")):
        name = _UNFINISHED.fullmatch(path.name)
        with suppress(FileNotFoundError):  # renamed meanwhile, or removed together with its folder
            if name and _is_abandoned(path, name[1], int(name[2])):
                remove(path)
                removed.append(path)
    return removed


def _is_abandoned(path: Path, process_scope: str, process: int) -> bool:
    if process_scope == _process_scope():
        return not _runs(process)
    return time.time() - path.stat().st_mtime > ABANDONED_S


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


def keep_through_power_loss(path: Path) -> None:
    """Flush a file, or all files under a folder, from the operating system's cache to the disk."""
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if not each.is_symlink():
            _sync(each)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can sync, least of all folders
            raise
    finally:
        os.close(file)


def full_disk(error: BaseException) -> str:
    """Return the words in which an error reports a full disk, or the empty string."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return _FULL[error.errno]
    text = str(error)
    partly = _PARTLY_WRITTEN.search(text) if isinstance(error, OSError) else None
    return next((words for words in _FULL.values() if words in text), partly[0] if partly else "")


@contextmanager
def naming_a_full_disk(path: Path, written: Path | None = None, needs: int = 0, after: str = "") -> Iterator[None]:
    """Turn a library's error while it writes to a full disk into an `InputError` that names the result.

    Args:
        written: the temporary path that the library writes to, unless it writes to `path` itself.
        needs: the bytes that will be written, if known.
        after: what happens to the written bytes, as the end of the sentence.
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
        demand = f"{size(needs)} are needed" if needs else f"more than {size(free + used)} are needed"
        raise InputError(_no_room(path, demand, free + used, f"{reason}{after}")) from error


def _no_room(path: Path, demand: str, free: int, details: str) -> str:
    return (
        f"{path}: {demand} and {size(free)} were free ({details}); make room on that disk and rerun, finished results"
        " are kept (`led plan` estimates the disk space of a recipe)"
    )


def size(count: float) -> str:
    """Format a number of bytes in the largest unit that keeps it at 1 or more."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def tree_bytes(path: Path, without: Callable[[str], bool] = lambda name: False) -> int:
    """Return the size in bytes of a file, or of all files under a folder; 0 if it does not exist.

    Args:
        without: whether to skip a file or folder of this name under `path`.
    """
    total = 0
    for each in path.rglob("*") if path.is_dir() else [path]:
        if any(map(without, each.relative_to(path).parts)):
            continue
        with suppress(FileNotFoundError):  # a run may remove it meanwhile
            status = each.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path | str, value: object) -> None:
    """Write a value as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
