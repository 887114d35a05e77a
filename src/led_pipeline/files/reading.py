"""Reading: what a library raises about a file becomes one sentence with the file's name, and JSON is read strictly.

`with reading(path):` goes around the calls of a library that read a file, and around nothing else: what it turns into
an `InputError` is the explicit list RAISED, which has none of the errors that a fault of our own would raise. A library
that reports a damaged file by such a one (a KeyError, say) is named by `also`, at the one call.
"""

import json
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over

# What libraries raise about the content of a file, as module and name: looked up where the module is loaded already.
RAISED = (
    ("builtins", "OSError"),
    ("builtins", "EOFError"),
    ("builtins", "UnicodeError"),
    ("builtins", "OverflowError"),
    ("builtins", "RecursionError"),
    ("builtins", "MemoryError"),
    ("csv", "Error"),
    ("json", "JSONDecodeError"),
    ("lzma", "LZMAError"),
    ("pickle", "UnpicklingError"),
    ("pyarrow", "ArrowException"),
    ("safetensors", "SafetensorError"),
    ("struct", "error"),
    ("tarfile", "TarError"),
    ("yaml", "YAMLError"),
    ("zipfile", "BadZipFile"),
    ("zlib", "error"),
)
_KINDS = (
    (stat.S_ISDIR, "Is a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def raised() -> tuple[type[BaseException], ...]:
    """Return the errors of RAISED whose modules are loaded."""
    return tuple(getattr(sys.modules[module], name) for module, name in RAISED if module in sys.modules)


@contextmanager
def reading(
    path: Path | str, expected: str = "", line: int | None = None, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn what a library raises about a file into an `InputError` that names it.

    Args:
        expected: what the file should be, and what to do: "a complete Parquet file; write it again".
        line: the line that is being read.
        also: further errors by which this very call reports a bad file.
    """
    try:
        yield
    except InputError:
        raise
    except (*raised(), *also) as error:
        where = f"{path}:{line}" if line else str(path)
        raise InputError(f"{where}: {reason(error)}" + (f", expected {expected}" if expected else "")) from error


def reason(error: BaseException) -> str:
    """Return what an error says, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1:,}, 0x{error.object[error.start]:02x}, is not {error.encoding.upper()}"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, RecursionError):
        return "its values are nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return (text[:200] + " ..." if len(text) > 200 else text) or type(error).__name__


def check_regular(path: Path | str, expected: str = "a file") -> int:
    """Return the bytes of a file.

    Raises:
        InputError: it is not there, or it is a folder, a pipe, a socket or a device, which nothing is read of.
    """
    with reading(path, expected, also=(ValueError,)):  # of a name with a NUL
        status = Path(path).stat()
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise InputError(f"{path}: {name}, expected {expected}")
    return status.st_size


def read_text(path: Path | str, expected: str = "a text file", limit: str = "whole") -> str:
    """Return the text of a UTF-8 file.

    Raises:
        InputError: it cannot be read, it is not UTF-8, or it is larger than the limit of that name.
    """
    count = check_regular(path, expected)
    with reading(path, expected):
        if count > getattr(limits(), limit):
            raise InputError(f"{path}: {count:,} bytes, {over(limit)}")
        return Path(path).read_text(encoding="utf-8")


class NotJson(ValueError):
    """A text is no JSON that we read; the message says why."""

    def __init__(self, fault: str, line: int = 1) -> None:
        super().__init__(fault)
        self.line = line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        again = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise NotJson(f"the key {again[:60]!r} comes twice in one object, expected it once")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        NotJson: it is none, an object has a key twice, an integer has thousands of digits, or values are nested deeper
            than the limit.
    """
    deepest = limits().nesting
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"not valid JSON at column {error.colno} ({error.msg})", error.lineno) from None
    except RecursionError:
        raise NotJson(f"lists and objects inside one another, {over('nesting')}") from None
    except NotJson:
        raise
    except ValueError:  # of int(), which takes no more digits than this
        raise NotJson(f"an integer of more than {sys.get_int_max_str_digits():,} digits") from None
    if text.count("[") + text.count("{") > deepest and _deeper(value, deepest):
        raise NotJson(f"lists and objects inside one another, {over('nesting')}")
    return value


def _deeper(value: Any, limit: int) -> bool:
    """Return whether lists and dicts are nested deeper than a limit."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for each in level
            if isinstance(each, (list, dict))
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (list, dict))
        ]
        if not level:
            return False
    return True


def read_json(path: Path | str) -> Any:
    """Read a JSON file; an unreadable one is an `InputError` that names the line."""
    text = read_text(path, "a JSON file")
    try:
        return parse_json(text)
    except NotJson as error:
        raise InputError(f"{path}:{error.line}: {error}") from error
