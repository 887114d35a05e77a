"""Read nested dicts, lists and numbers from a pickle without running any code that it names.

A pickle is a program: it can import any function and call it. Here every name in it is looked up in a short list of our
own replacements; any other name stops the reading before anything is imported.

A few bytes of a pickle can also cost gigabytes or hours. So a first pass checks all operations, and, since it reads to
the end of the file, its checksums too:

- a length must not lead beyond the end of the file;
- an index into the memo, a list as long as its highest index, must not be far above the number of values put there;
- a tuple may only be the arguments of a replacement: tuples of tuples, a few bytes each by the memo, take exponential
  time to hash and to print;
- operations that writers of scores do not need (sets, persistent ids, copies of the last value) are refused.
"""

import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from led_pipeline.data.formats.streams import open_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over
from led_pipeline.files.reading import raised, reason

_NUMBERS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])


class _NumberType:
    """Replaces numpy.dtype: the name of a number type and nothing else."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in _NUMBERS:
            raise pickle.UnpicklingError(f"a numpy value of type {name!r}, expected numbers")
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.name = (">" if state[1] == ">" else "<") + self.name.lstrip("<>")


def _number(kind: _NumberType, raw: bytes) -> int | float:
    """Replace numpy's constructor of scalars."""
    value: int | float = np.frombuffer(raw, dtype=kind.name, count=1).item()
    return value


def _as_bytes(text: str, encoding: str) -> bytes:
    """Replace codecs.encode, with which old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """Replace defaultdict and OrderedDict, whose entries follow as operations of their own."""
    return {}


_REPLACEMENTS: dict[tuple[str, str], Callable[..., Any]] = {
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
            return _REPLACEMENTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_pickle(path: Path | str) -> Any:
    """Return the dicts, lists, strings and numbers of a pickle, plain or compressed.

    Raises:
        InputError: the pickle holds anything else, or it is damaged; none of its code has run.
    """
    try:
        with open_bytes(path) as file:
            _Check(file).run()
        with open_bytes(path) as file:
            return _Reader(file).load()
    except (pickle.UnpicklingError, *_ODD) as error:
        raise InputError(
            f"{path}: {reason(error)}, expected a pickle of dicts, lists, strings and numbers only;"
            " nothing of it was run. Write it as JSON or lines of text"
        ) from error
    except raised() as error:
        raise InputError(
            f"{path}: the pickle is damaged or cut off ({reason(error)}), expected a complete one; download it again"
        ) from error


# What pickle raises about inconsistent operations.
_ODD = (ValueError, TypeError, KeyError, IndexError, AttributeError)
_BLOCK = 1 << 22
_SLACK = 256  # indices of the memo that may be left out
_LINES = {ord(code): 2 if code == "c" else 1 for code in "FILSVcgp"}  # operation -> lines of text in its argument
_NAMES = {ord(each.code): each.name for each in pickletools.opcodes}
_LENGTHS = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4,
            pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8}  # fmt: skip
_ARGUMENTS = {ord(each.code): each.arg.n if each.arg else 0 for each in pickletools.opcodes}
_TUPLES = frozenset(b"t)\x85\x86\x87")
_CALLS = frozenset(b"Rb")  # the operations that use a tuple
_TUPLE_FAULT = "a tuple among its values, such as arrays and dates have"
_REFUSED = frozenset(b"012PQio\x81\x82\x83\x84\x8f\x90\x91\x92\x96\x97\x98")
_FLAGS = (b"\0", b"\1")
_MEMOIZE, _FRAME, _STOP = 0x94, 0x95, ord(".")
# Plain numbers, and the operations that put them into dicts and lists, need no check: most of a large file.
_PLAIN = re.compile(rb"(?:K.|M..|J.{4}|G.{8}|[FILSV][^\n]{0,99}\n|[(}\]Nusdlae\x88\x89])++", re.DOTALL)
_NEAR = 512  # bytes in memory ahead of an operation, so that it can be skipped without more reading
_COUNT = struct.Struct("<I")


class _Check:
    """Checks the operations of a pickle."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.data, self.at, self.read, self.ended = file, b"", 0, 0, False
        self.tuples = bytearray()  # for each index of the memo, whether a tuple is there
        self.puts, self.memoizes = 0, False
        self.waiting = False  # whether the last value is a tuple, which a call must use next
        self.frame = 0  # position of the end of the current frame; 0 outside of frames

    def run(self) -> None:
        """Read to the end of the file.

        Raises:
            UnpicklingError: an operation is refused.
            EOFError: the file ends before the pickle does.
        """
        code = None
        while code != _STOP:
            self.have(2 * _NEAR)
            self.common()
            self.in_frame()
            if self.at >= len(self.data):
                raise EOFError("it ends early")
            code = self.data[self.at]
            self.at += 1
            self.operation(code)
            self.in_frame()
        if self.frame:
            raise EOFError("its last frame ends early")
        self.have(1)
        if self.at < len(self.data):
            raise pickle.UnpicklingError("there is more after its end")

    def common(self) -> None:
        """Skip the most common operations of large files, as `operation` would, and stop at any other.

        Without function calls, since half a billion operations are not unusual.
        """
        data, at, end = self.data, self.at, len(self.data) - _NEAR
        if self.frame:
            end = min(end, at + self.frame - self.place)
        tuples, puts, waiting = self.tuples, self.puts, self.waiting
        while at < end:
            code = data[at]
            if code == 0x72 or code == 0x71:  # LONG_BINPUT, BINPUT
                place = _COUNT.unpack_from(data, at + 1)[0] if code == 0x72 else data[at + 1]
                if place > len(tuples) or place > puts or self.memoizes:
                    break
                tuples[place : place + 1] = _FLAGS[waiting]
                puts += 1
                at += 5 if code == 0x72 else 2
            elif code == 0x94 and self.memoizes:  # MEMOIZE
                tuples += _FLAGS[waiting]
                puts += 1
                at += 1
            elif waiting:
                if code != 0x52:  # REDUCE
                    break
                waiting = False
                at += 1
            elif code == 0x58:  # BINUNICODE
                count = _COUNT.unpack_from(data, at + 1)[0]
                if count > _NEAR - 5:
                    break
                at += 5 + count
            elif code == 0x8C or code == 0x55 or code == 0x43:  # SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES
                at += 2 + data[at + 1]
            elif code == 0x68 or code == 0x6A:  # BINGET, LONG_BINGET
                place = _COUNT.unpack_from(data, at + 1)[0] if code == 0x6A else data[at + 1]
                if place >= len(tuples) or tuples[place]:
                    break
                at += 5 if code == 0x6A else 2
            elif code == 0x86:  # TUPLE2
                waiting = True
                at += 1
            elif plain := _PLAIN.match(data, at, end):
                at = plain.end()
            else:
                break
        self.at, self.puts, self.waiting = at, puts, waiting

    @property
    def place(self) -> int:
        """The position in the file."""
        return self.read - len(self.data) + self.at

    def in_frame(self) -> None:
        """Check that no operation crosses the end of its frame: readers differ in how they read that."""
        if self.frame and self.place >= self.frame:
            if self.place > self.frame:
                raise pickle.UnpicklingError("a frame that ends within an operation")
            self.frame = 0

    def have(self, count: int) -> bool:
        """Read on until `count` bytes are in memory; return whether the file has that many."""
        while len(self.data) - self.at < count and not self.ended:
            part = self.file.read(_BLOCK)
            self.ended = not part
            self.data, self.at = self.data[self.at :] + part, 0
            self.read += len(part)
            if self.read > limits().whole:
                raise pickle.UnpicklingError(f"a file of {over('whole')} bytes")
        return len(self.data) - self.at >= count

    def operation(self, code: int) -> None:
        """Skip one operation."""
        if code in _REFUSED or code not in _ARGUMENTS:
            raise pickle.UnpicklingError(f"the operation {_NAMES.get(code, code)}")
        argument = self.argument(code)
        if code == _MEMOIZE:
            self.memoizes = self.memoizes or not self.puts
            if not self.memoizes:
                raise pickle.UnpicklingError("two ways to count the places of its memo")
            self.put(self.puts)
        elif code in b"pqr":
            self.put(int(argument) if code == ord("p") else int.from_bytes(argument, "little"))
        elif self.waiting and code not in _CALLS:
            raise pickle.UnpicklingError(_TUPLE_FAULT)
        elif code in b"ghj":
            place = int(argument) if code == ord("g") else int.from_bytes(argument, "little")
            if 0 <= place < len(self.tuples) and self.tuples[place]:
                raise pickle.UnpicklingError(_TUPLE_FAULT)
        else:
            self.waiting = code in _TUPLES

    def put(self, place: int) -> None:
        """Note at which index of the memo the last value is put."""
        if not 0 <= place <= self.puts + _SLACK or (self.memoizes and place != self.puts):
            raise pickle.UnpicklingError(f"place {place:,} of its memo after {self.puts:,} others")
        if place >= len(self.tuples):
            self.tuples.extend(bytes(place + 1 - len(self.tuples)))
        self.tuples[place] = self.waiting
        self.puts += 1

    def argument(self, code: int) -> bytes:
        """Skip an operation's argument and return it."""
        if lines := _LINES.get(code):
            return b"".join(self.line() for _ in range(lines))
        count = _ARGUMENTS[code]
        if count < 0:
            count = int.from_bytes(self.take(_LENGTHS[count]), "little")
        argument = self.take(count)
        if code == _FRAME:
            length = int.from_bytes(argument, "little")
            if length > limits().line or self.frame:
                raise pickle.UnpicklingError("a frame in a frame" if self.frame else f"a frame of {over('line')} bytes")
            self.frame = self.place + length
        return argument

    def take(self, count: int) -> bytes:
        if count > limits().line:
            raise pickle.UnpicklingError(f"a value of {over('line')} bytes")
        if not self.have(count):
            raise EOFError("it ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def line(self) -> bytes:
        count = 256
        while (end := self.data.find(b"\n", self.at)) < 0:
            if count > limits().line:
                raise pickle.UnpicklingError(f"a line of {over('line')} bytes")
            if not self.have(count):
                raise EOFError("it ends early")
            count *= 2
        return self.take(end + 1 - self.at)
