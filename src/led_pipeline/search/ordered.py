"""Run a function on items in several threads, and yield the results in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered(pool: Executor, function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield `function(item)` for each item; at most two results per thread wait to be taken."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        if len(waiting) > 2 * threads:
            yield waiting.popleft().result()
        waiting.append(pool.submit(function, item))
    while waiting:
        yield waiting.popleft().result()
