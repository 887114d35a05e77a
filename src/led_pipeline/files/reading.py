"""Turn libraries' errors about a damaged file into one sentence that names it, and read JSON strictly.

`with reading(path):` wraps only the library calls that read a file. It turns the errors listed in RAISED into an
`InputError`; the list has no error that a bug of ours would raise. Where a library reports a damaged file by such an
error (a KeyError, say), the call passes it as `also`.
"""

import json
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over

# Errors that libraries raise about a file's content, as module and name; modules that are not loaded are skipped.
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
    """Return the error classes of RAISED whose modules are loaded."""
    return tuple(getattr(sys.modules[module], name) for module, name in RAISED if module in sys.modules)


@contextmanager
def reading(
    path: Path | str, expected: str = "", line: int | None = None, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn a library's error about a file into an `InputError` that names the file.

    Args:
        expected: what the file should be, and what to do: "a complete Parquet file; write it again".
        line: the line that is being read.
        also: further errors by which this particular call reports a damaged file.
    """
    try:
        yield
    except InputError:
        raise
    except (*raised(), *also) as error:
        where = f"{path}:{line}" if line else str(path)
        raise InputError(f"{where}: {reason(error)}" + (f", expected {expected}" if expected else "")) from error


def reason(error: BaseException) -> str:
    """Return an error's message in a few words."""
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
    """Return the size of a regular file in bytes.

    Raises:
        InputError: the file does not exist, or it is a folder, a pipe, a socket or a device.
    """
    with reading(path, expected, also=(ValueError,)):  # raised for a name with a NUL
        status = Path(path).stat()
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise InputError(f"{path}: {name}, expected {expected}")
    return status.st_size


def read_text(path: Path | str, expected: str = "a text file", limit: str = "whole") -> str:
    """Return the text of a UTF-8 file.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is larger than the limit of that name.
    """
    count = check_regular(path, expected)
    with reading(path, expected):
        if count > getattr(limits(), limit):
            raise InputError(f"{path}: {count:,} bytes, {over(limit)}")
        return Path(path).read_text(encoding="utf-8")


class NotJson(ValueError):
    """A text is not JSON that we accept; the message says why."""

    def __init__(self, fault: str, line: int = 1) -> None:
        super().__init__(fault)
        self.line = line


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        duplicate = next(name for name, count in counts.items() if count > 1)
        raise NotJson(f"the key {duplicate[:60]!r} comes twice in one object, expected it once")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        NotJson: it is not JSON, an object has a duplicate key, an integer has thousands of digits, or values are
            nested deeper than the limit.
    """
    deepest = limits().nesting
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"not valid JSON at column {error.colno} ({error.msg})", error.lineno) from None
    except RecursionError:
        raise NotJson(f"nested lists and objects, {over('nesting')}") from None
    except NotJson:
        raise
    except ValueError:  # from int(), which accepts no more digits than this
        raise NotJson(f"an integer of more than {sys.get_int_max_str_digits():,} digits") from None
    if text.count("[") + text.count("{") > deepest and _deeper(value, deepest):
        raise NotJson(f"nested lists and objects, {over('nesting')}")
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
    """Return the value of a JSON file.

    Raises:
        InputError: the file cannot be read or is not JSON; the message names the line.
    """
    text = read_text(path, "a JSON file")
    try:
        return parse_json(text)
    except NotJson as error:
        raise InputError(f"{path}:{error.line}: {error}") from error
