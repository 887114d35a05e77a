"""Agreement between the processes of a training, and cooperative shutdown on SIGTERM."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from accelerate import Accelerator


class Agreement:
    """Sums over the processes, and a context in which SIGTERM is recorded instead of fatal.

    SLURM sends SIGTERM before a time limit (earlier with --signal=TERM@60); torchrun passes it on to its processes and
    kills them 30 seconds later. The signal may reach processes at different steps, so they add up their requests to
    stop. The sums go over gloo, from memory to memory: no step waits for a device.
    """

    def __init__(self, accelerator: Accelerator):
        self.alone = accelerator.num_processes == 1
        self.main = accelerator.is_main_process
        second_group = not self.alone and dist.get_backend() != "gloo"
        self.group = dist.new_group(backend="gloo") if second_group else None
        self.stop = False  # whether this process was asked to stop
        self._ending: str | None = None

    def all_reduce_sum(self, *numbers: int) -> list[int]:
        """Return the sum over the processes of each number; all processes call it at the same step."""
        if self.alone:
            return [int(number) for number in numbers]
        total = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(total, group=self.group)
        return total.tolist()

    def end(self, message: str) -> SystemExit:
        """Return the exception that ends this process with a status other than 0; the main process says why."""
        return SystemExit(message if self.main else 1)

    @contextmanager
    def ending_at_once(self, message: str) -> Iterator[None]:
        """Within this context SIGTERM ends the process at once, since there is nothing to save."""
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

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
