"""Agreement: what all processes of a training must know alike, and SIGTERM as a request that all of them grant."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from accelerate import Accelerator


class Agreement:
    """Sums over the processes, and the request to stop; a context in which SIGTERM is noted instead of fatal.

    SLURM sends SIGTERM before a time limit (earlier with --signal=TERM@60), torchrun passes it on to its processes and
    kills them 30 seconds later. It may reach them between different steps, so whether to stop is a sum of theirs, too.
    The sums go over gloo, from memory to memory: no step waits for a device.
    """

    def __init__(self, accelerator: Accelerator):
        self.alone = accelerator.num_processes == 1
        self.main = accelerator.is_main_process
        own_group = not self.alone and dist.get_backend() != "gloo"
        self.group = dist.new_group(backend="gloo") if own_group else None
        self.stop = False  # whether this process was asked to stop
        self._ending: str | None = None

    def sums(self, *mine: int) -> list[int]:
        """Return the sums of every process's numbers; all processes call it at the same step."""
        if self.alone:
            return [int(number) for number in mine]
        numbers = torch.tensor(mine, dtype=torch.int64)
        dist.all_reduce(numbers, group=self.group)
        return numbers.tolist()

    def end(self, message: str) -> SystemExit:
        """Return the exception that ends this process with a status that is not 0; the main process says why."""
        return SystemExit(message if self.main else 1)

    @contextmanager
    def ending_at_once(self, message: str) -> Iterator[None]:
        """A stretch that leaves nothing to save: SIGTERM ends it without waiting for the other processes."""
        self._ending = message
        if self.stop:
            raise self.end(message)
        try:
            yield
        finally:
            self._ending = None

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self.stop = True
        if self._ending is not None:
            raise self.end(self._ending)

    def __enter__(self) -> "Agreement":
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
