"""Values that are computed once, when a request first needs them, although several threads may ask at the same time."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """A cache of a function's values; while one thread computes a key, others that need this key wait for it."""

    def __init__(self, compute: Callable[[Key], Value]) -> None:
        self._compute = compute
        self._values: dict[Key, Value] = {}
        self._locks: dict[Key, Lock] = {}
        self._lock = Lock()

    def __call__(self, key: Key) -> Value:
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._values:
                self._values[key] = self._compute(key)
            return self._values[key]
