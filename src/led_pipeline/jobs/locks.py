"""Locks: bytes of a file that a process holds until it ends, however it ends.

POSIX record locks: they stay over exec, a child does not inherit them, and two processes may hold different bytes of
one file. So a group of processes shares a thing that one of them has taken: the first takes the whole file and gives
back all but byte 0, each of the others takes a byte of its own, and nobody else gets the whole file before all have
ended. A process must not open and close such a file twice: that gives its locks back.
"""

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from led_pipeline.files.errors import InputError

POLL_S = 0.5
LEASE = "LED_LEASE"  # the lock files of the GPUs of this job, parted by os.pathsep


def open_lock(path: Path | str, folder: int | None = None) -> int:
    """Return the descriptor of a lock file, made if need be, never through a link and never emptied.

    Args:
        folder: the descriptor of the folder that a relative path is looked up in.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def take(file: int, byte: int | None = None) -> bool:
    """Lock a byte of a file, or all of it, without waiting; return whether nobody else holds any of that."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *((0, 0) if byte is None else (1, byte)))
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


def wait(file: int) -> None:
    """Lock a whole file, waiting for whoever holds any of it."""
    fcntl.lockf(file, fcntl.LOCK_EX)


def take_for_group(file: int) -> bool:
    """Take a file that no process of another group holds a byte of, for a group of which this is the first process."""
    if not take(file):
        return False
    fcntl.lockf(file, fcntl.LOCK_UN, 0, 1)
    return True


def private_folder(path: Path) -> int:
    """Return the descriptor of a folder that this user alone can enter, made if need be.

    While it is open, systemd-tmpfiles leaves the folder alone, however old it is.

    Raises:
        InputError: somebody else made it, it is a link, or others may write into it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise InputError(f"{path}: a link, where the locks of this user's GPUs belong; {_ELSEWHERE}") from error
    status = os.fstat(folder)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise InputError(
            f"{path}: it belongs to user {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}, expected"
            f" {os.getuid()} and 700, since the locks of this user's GPUs are there; {_ELSEWHERE}"
        )
    fcntl.flock(folder, fcntl.LOCK_SH)
    return folder


_ELSEWHERE = "remove it or set TMPDIR to a folder of your own"


def join(path: Path | str, member: int) -> int:
    """Return the descriptor of a lock file that another process has taken for this group, with a byte of it locked.

    Args:
        member: which process of the group this is, from 1.

    Raises:
        InputError: another group has the file, since the process that took it for this one has ended.
    """
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with _where_there_are_locks(path):
        if not take(file, member):
            raise InputError(f"{path}: another job has this lock, the process that took it for this one has ended")
    return file


def hold_leased() -> None:
    """Keep the GPUs of this job taken for as long as this process lives, the launcher's death included.

    Only a process that torchrun has started does anything; the launcher, and what it becomes, holds them itself.
    """
    if LEASE in os.environ and "LOCAL_RANK" in os.environ:
        for path in os.environ[LEASE].split(os.pathsep):
            join(path, 1 + int(os.environ["LOCAL_RANK"]))  # the descriptor stays open until the process ends


def wait_for(path: Path, what: str, patience_s: float) -> int:
    """Return the descriptor of a lock file that was taken for a group, waiting for the group that has it to end.

    Raises:
        InputError: it has not ended in time.
    """
    file = open_lock(path)
    end = time.monotonic() + patience_s
    with _where_there_are_locks(path):
        if take_for_group(file):
            return file
        print(f"{path}: {what}; waiting up to {patience_s:.0f} s for that to end", file=sys.stderr, flush=True)
        while not take_for_group(file):
            if time.monotonic() > end:
                raise InputError(f"{path}: {what} for {patience_s:.0f} s; end that or wait for it, and start again")
            time.sleep(POLL_S)
    return file


@contextmanager
def _where_there_are_locks(path: Path | str) -> Iterator[None]:
    """Say that a file system has no locks, and go on: whoever works there starts no second job on the same files."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"warning: {path}: no locks on this file system: start no second job on these files", file=sys.stderr)
