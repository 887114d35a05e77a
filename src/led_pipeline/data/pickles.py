"""Pickles: nested dicts, lists and numbers out of a pickle, without running what a pickle may ask to run.

A pickle is a program: it can import any function and call it. Here every name that it asks for is looked up in a short
list of our own stand-ins; any other name ends the reading before anything is imported.
"""

import pickle
from typing import Any, BinaryIO

import numpy as np

from led_pipeline.files import InputError

_NUMBERS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])


class _NumberType:
    """Stands in for numpy.dtype: the name of a kind of number and nothing else."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in _NUMBERS:
            raise pickle.UnpicklingError(f"a numpy value of type {name!r}, expected numbers")
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.name = (">" if state[1] == ">" else "<") + self.name.lstrip("<>")


def _number(kind: _NumberType, raw: bytes) -> int | float:
    """Stand in for numpy's constructor of scalars."""
    return np.frombuffer(raw, dtype=kind.name, count=1).item()


def _as_bytes(text: str, encoding: str) -> bytes:
    """Stand in for codecs.encode, by which old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _plain_dict(*_: Any) -> dict:
    """Stand in for defaultdict and OrderedDict, whose entries follow."""
    return {}


_KNOWN = {
    ("builtins", "dict"): _plain_dict,
    ("__builtin__", "dict"): _plain_dict,
    ("collections", "defaultdict"): _plain_dict,
    ("collections", "OrderedDict"): _plain_dict,
    ("numpy", "dtype"): _NumberType,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("_codecs", "encode"): _as_bytes,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_pickle(file: BinaryIO, path: str) -> Any:
    """Return the dicts, lists, tuples, strings and numbers of a pickle.

    Raises:
        InputError: the pickle asks for anything else, or it is damaged; nothing of it has run.
    """
    try:
        return _Reader(file).load()
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path}: the pickle is damaged or cut off ({error}), expected a complete one; download it again"
        ) from error
    except Exception as error:  # whatever bytes that are no pickle lead to
        raise InputError(
            f"{path}: {error or type(error).__name__}, expected a pickle of dicts, lists, strings and numbers only;"
            " nothing of it was run. Write the scores as Parquet, JSON or a TREC run"
        ) from error
