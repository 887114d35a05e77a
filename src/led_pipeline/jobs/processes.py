"""Tie a process to its parent: it ends when the parent ends, however that happens.

On Linux the kernel kills a process when its parent dies (PR_SET_PDEATHSIG, which survives exec). A process started as
`python -I -S processes.py PARENT COMMAND...` ties itself to PARENT, unless that has already ended, and becomes COMMAND:
the shells of jobs and their Python programs (workflow/scripts/tied.sh), the ranks of torchrun, java. This file must
therefore import nothing of the package.

With LED_SHOW_COMMAND, which the shells of jobs set, it first prints COMMAND and the time: a job's log begins with them.

The parent also puts its process id into LED_PARENT, to which commands that were started in another way tie themselves
(`jobs.command`). Without that variable, in a user's shell, nothing is tied.
"""

import os
import signal
import sys
from collections.abc import Sequence

PARENT = "LED_PARENT"
SHOW = "LED_SHOW_COMMAND"
PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Make this process end when its parent process `parent` ends; end now if the parent has already ended.

    Systems other than Linux have only the second half: a process that is already running outlives its parent.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this one, has ended; so does this one")


def end_with_parent() -> None:
    """Tie this process to the one that LED_PARENT names, and its own children to itself."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if int(parent) != os.getpid():  # equal if a tied process has become this one by exec
        end_with(int(parent))
    os.environ[PARENT] = str(os.getpid())


def tied(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` as a child of this process and ends with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def show(command: Sequence[str]) -> None:
    """Print a command as a shell reads it, and the time."""
    import shlex
    import time

    line = f"+ {shlex.join(command)}  # {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n"
    sys.stdout.buffer.write(os.fsencode(line))
    sys.stdout.flush()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    if os.environ.pop(SHOW, None):
        show(sys.argv[2:])
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error.strerror}")
