"""Device turns: blocks of passages go to several devices in turn, each for all queries; the best keys are then merged.

A key is a signed integer that is larger for a better hit. Both engines that search with torch (`torch_engine`,
`torch_lexicon`) use this; they differ in what a block is, and in how a device scores it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import torch
from torch import Tensor

LOWEST = torch.iinfo(torch.int64).min  # sorts after every hit
QUERIES = 2**16  # whose keys are merged at once
Block = TypeVar("Block")
Result = TypeVar("Result")


def in_turns(searches: Sequence[Callable[[Block], Result]], blocks: Iterable[Block]) -> Iterator[tuple[Block, Result]]:
    """Search blocks on several devices, and yield each with its result, in order.

    The next block is read while as many as there are devices are searched. Whoever reads them may therefore use the
    memory of a block again after one more block than that.

    Args:
        searches: one function per device; it is never called twice at a time.
    """
    running: deque[tuple[Future[Result], Block]] = deque()
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in searches]
        for number, block in enumerate(blocks):
            turn = number % len(searches)
            running.append((threads[turn].submit(searches[turn], block), block))
            if len(running) > len(searches):
                future, first = running.popleft()
                yield first, future.result()
        for future, block in running:
            yield block, future.result()


def best_first(keys_of_devices: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the best keys of all devices, best first, for some queries at a time.

    Args:
        keys_of_devices: (Q, K) each, in any order.
    """
    for parts in zip(*(keys_QK.split(QUERIES) for keys_QK in keys_of_devices), strict=True):
        together = torch.cat([part.to(parts[0].device) for part in parts], dim=1) if len(parts) > 1 else parts[0]
        yield together.topk(parts[0].shape[1]).values
