"""Processes: a job ends with the process that started it, however that one ends.

The kernel is asked to kill a process when its parent dies (Linux: PR_SET_PDEATHSIG, kept over exec). What is started
as `python -I -S processes.py PARENT COMMAND...` ties itself to PARENT, if that has not ended by then, and becomes
COMMAND: the shells of jobs and their Python programs (workflow/scripts/tied.sh), the ranks of torchrun, java. This file
must therefore import nothing of ours.

What starts a process puts its own number into LED_PARENT, too, by which commands that were started in another way tie
themselves (`jobs.command`). Without that variable, by hand in a shell, nothing is tied.
"""

import os
import signal
import sys
from collections.abc import Sequence

PARENT = "LED_PARENT"
PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Make this process, which `parent` has started, end when that one does; end now if it has ended.

    Other systems than Linux know only the second half: there, what runs already lives on.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this one, has ended; so does this one")


def end_with_parent() -> None:
    """Tie this process to the one that LED_PARENT names, and let what it starts be tied to itself."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if int(parent) != os.getpid():  # the same where a tied process has become this one
        end_with(int(parent))
    os.environ[PARENT] = str(os.getpid())


def tied(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one, started by this process, and ends with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error.strerror}")
