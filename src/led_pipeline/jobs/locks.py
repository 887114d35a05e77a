"""Lock bytes of a file until the process ends, however it ends, alone or as a group of processes.

POSIX record locks survive exec, are not inherited by a child, and different processes may hold different bytes of one
file. So a group of processes can share a lock: the first locks the whole file and releases all but byte 0, each of the
others locks its own byte, and nobody else can lock the whole file until all of them have ended. A process must not open
a lock file again while it holds it: closing any descriptor of the file releases all of the process's locks on it.
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
LEASE = "LED_LEASE"  # environment variable: the lock files of this job's GPUs, separated by os.pathsep


def open_lock(path: Path | str, folder: int | None = None) -> int:
    """Open a lock file, creating it if necessary; never follow a link and never truncate. Return its descriptor.

    Args:
        folder: the descriptor of the folder that a relative path starts from.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def take(file: int, byte: int | None = None) -> bool:
    """Try to lock one byte of a file, or all of it, without waiting; return whether that worked."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *((0, 0) if byte is None else (1, byte)))
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


def wait(file: int) -> None:
    """Lock a whole file, waiting for all other holders."""
    fcntl.lockf(file, fcntl.LOCK_EX)


def take_for_group(file: int) -> bool:
    """Try to lock a file for a group whose first process is this one; fails while another group holds a byte of it."""
    if not take(file):
        return False
    fcntl.lockf(file, fcntl.LOCK_UN, 0, 1)
    return True


def private_folder(path: Path) -> int:
    """Open a folder that only this user can enter, creating it if necessary, and return its descriptor.

    While the descriptor is open, systemd-tmpfiles does not clean the folder up, however old it is.

    Raises:
        InputError: the folder belongs to another user, it is a link, or others have access to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise InputError(f"{path}: a link, expected the folder of this user's GPU locks; {_ELSEWHERE}") from error
    status = os.fstat(folder)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise InputError(
            f"{path}: it belongs to user {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}, expected"
            f" {os.getuid()} and 700 for the folder of this user's GPU locks; {_ELSEWHERE}"
        )
    fcntl.flock(folder, fcntl.LOCK_SH)
    return folder


_ELSEWHERE = "remove it or set TMPDIR to a folder of your own"


def join(path: Path | str, member: int) -> int:
    """Lock a byte of a file that another process has locked for this group; return the file's descriptor.

    Args:
        member: the number of this process within the group, from 1.

    Raises:
        InputError: another group holds the file, because the process that locked it for this one has ended.
    """
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with _warn_without_locks(path):
        if not take(file, member):
            raise InputError(f"{path}: another job has this lock; the process that took it for this one has ended")
    return file


def hold_leased() -> None:
    """Hold the locks of this job's GPUs as long as this process lives, even if the launcher dies.

    This does something only in a process that torchrun started; the launcher, and what it becomes, already holds them.
    """
    if LEASE in os.environ and "LOCAL_RANK" in os.environ:
        for path in os.environ[LEASE].split(os.pathsep):
            join(path, 1 + int(os.environ["LOCAL_RANK"]))  # the descriptor stays open until the process ends


def wait_for(path: Path, holder: str, patience_s: float) -> int:
    """Lock a file for a group, waiting for the group that holds it to end; return the file's descriptor.

    Args:
        holder: who holds the lock and why, as the start of a sentence: "another training writes here".
        patience_s: how long to wait at most.

    Raises:
        InputError: the other group has not ended in time.
    """
    file = open_lock(path)
    end = time.monotonic() + patience_s
    with _warn_without_locks(path):
        if take_for_group(file):
            return file
        print(f"{path}: {holder}; waiting up to {patience_s:.0f} s for it to end", file=sys.stderr, flush=True)
        while not take_for_group(file):
            if time.monotonic() > end:
                raise InputError(f"{path}: {holder} for {patience_s:.0f} s; end it or wait for it, then rerun")
            time.sleep(POLL_S)
    return file


@contextmanager
def _warn_without_locks(path: Path | str) -> Iterator[None]:
    """Warn and go on if the file system has no locks: the user must not start a second job on the same files."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"warning: {path}: this file system has no locks; start no second job on these files", file=sys.stderr)
