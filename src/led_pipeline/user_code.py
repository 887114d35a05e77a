"""User code: functions and classes in a file of the user's, named `path/to/file.py:name` in a recipe. Imports no torch.

A recipe is checked without running the file; a training runs it, and its bytes are part of what the result belongs to.
"""

import ast
import importlib.util
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_text

PATTERN = r"^.+\.py:[A-Za-z_]\w*$"


def is_reference(value: object) -> bool:
    """Return whether a value has the form of a file and a name in it."""
    return isinstance(value, str) and re.match(PATTERN, value) is not None


def file_of(reference: str) -> str:
    """Return the file that a reference names."""
    return reference.rpartition(":")[0]


def fault(reference: str) -> str | None:
    """Return what is wrong with a reference, from reading the file alone, or None."""
    path, _, name = reference.rpartition(":")
    if not Path(path).is_file():
        return f"no file '{path}' here ({Path.cwd()}); give its path from the working directory, or a whole one"
    try:
        tree = ast.parse(read_text(path, "a file of Python", "config"))
    except InputError as error:
        return str(error)
    except SyntaxError as error:
        return f"{path}:{error.lineno or 1}: not valid Python ({error.msg})"
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL, or thousands of brackets
        return f"{path}: not valid Python ({error or type(error).__name__})"
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if name not in defined:
        return f"{path}: no function or class '{name}' at its top level; there are {', '.join(defined) or 'none'}"
    return None


@cache
def load(reference: str) -> Callable[..., Any]:
    """Run the file and return its function or class.

    Raises:
        InputError: the file or the name is missing, or the file cannot be run.
    """
    if reason := fault(reference):
        raise InputError(reason)
    path, _, name = reference.rpartition(":")
    spec = importlib.util.spec_from_file_location(f"own_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None, path  # its name ends with .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: it cannot be run ({type(error).__name__}: {error})") from error
    return getattr(module, name)
