"""Placement: jobs on cores and GPUs, each as soon as those that it waits for have ended and there is room for it."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Protocol

Size = tuple[float, float]  # threads, GPUs


class Task(Protocol):
    """A job to place."""

    @property
    def id(self) -> int: ...

    @property
    def after(self) -> Sequence[int]:
        """Numbers of the jobs that must end before; those that are not placed have ended."""

    @property
    def threads(self) -> int: ...

    @property
    def gpus(self) -> int: ...


class _Room:
    """The free cores and GPUs, and the jobs that could start if they had room."""

    def __init__(self, tasks: Sequence[Task], cores: int | None, gpus: int | None, priority: Mapping[int, float]):
        self.threads: float = inf if cores is None else cores
        self.gpus: float = inf if gpus is None else gpus
        self.size = {task.id: (min(task.threads, self.threads), min(task.gpus, self.gpus)) for task in tasks}
        self._rank = {task.id: (-priority.get(task.id, 0.0), place) for place, task in enumerate(tasks)}
        # Jobs of one size wait in one queue: where the first of them has no room, the others have none either.
        self._ready: dict[Size, list[tuple[tuple[float, int], int]]] = defaultdict(list)

    def wait(self, number: int) -> None:
        heapq.heappush(self._ready[self.size[number]], (self._rank[number], number))

    def take(self, number: int, sign: int = 1) -> None:
        threads, gpus = self.size[number]
        self.threads, self.gpus = self.threads - sign * threads, self.gpus - sign * gpus

    def next(self) -> int | None:
        """Return the most urgent waiting job that there is room for, and take it from its queue."""
        fitting = [
            queue
            for (threads, gpus), queue in self._ready.items()
            if queue and threads <= self.threads and gpus <= self.gpus
        ]
        return heapq.heappop(min(fitting))[1] if fitting else None


def makespan(
    tasks: Sequence[Task],
    seconds: Mapping[int, float],
    running: Collection[int],
    cores: int | None,
    gpus: int | None,
    priority: Mapping[int, float] | None = None,
) -> float:
    """Return when the last of some jobs ends, in seconds from now, if each starts as soon as there is room for it.

    Args:
        tasks: in the order in which they start if several could.
        seconds: what each job still takes, by its number.
        running: jobs that have room already.
        cores, gpus: those for all jobs together; None without a limit. No job takes more than there are.
        priority: by number, of the jobs that start before others; 0 unless it is in it.
    """
    room = _Room(tasks, cores, gpus, priority or {})
    missing = {task.id: sum(other in seconds for other in task.after) for task in tasks}
    followers = defaultdict(list)
    for task in tasks:
        for other in task.after:
            followers[other].append(task.id)
    ends: list[tuple[float, int]] = []
    for task in tasks:
        if task.id in running:
            room.take(task.id)
            heapq.heappush(ends, (seconds[task.id], task.id))
        elif not missing[task.id]:
            room.wait(task.id)
    now = 0.0
    while True:
        while (number := room.next()) is not None:
            room.take(number)
            heapq.heappush(ends, (now + seconds[number], number))
        if not ends:
            return now
        now, number = heapq.heappop(ends)
        room.take(number, -1)
        for other in followers[number]:
            missing[other] -= 1
            if not missing[other] and other not in running:
                room.wait(other)
