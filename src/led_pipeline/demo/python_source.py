"""Read the docstrings of installed packages from their source files with `ast`, without importing them."""

import ast
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from led_pipeline.files.errors import InputError

STANDARD_LIBRARY = "python"
# Distribution -> package. All are direct or indirect dependencies of this project; a missing one is an error.
DISTRIBUTIONS = {
    "accelerate": "accelerate",
    "anyio": "anyio",
    "click": "click",
    "docutils": "docutils",
    "filelock": "filelock",
    "fsspec": "fsspec",
    "gitpython": "git",
    "httpx": "httpx",
    "huggingface-hub": "huggingface_hub",
    "humanfriendly": "humanfriendly",
    "jinja2": "jinja2",
    "jsonschema": "jsonschema",
    "mpmath": "mpmath",
    "nbformat": "nbformat",
    "networkx": "networkx",
    "numpy": "numpy",
    "packaging": "packaging",
    "pandas": "pandas",
    "psutil": "psutil",
    "pulp": "pulp",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "python-dateutil": "dateutil",
    "requests": "requests",
    "rich": "rich",
    "scipy": "scipy",
    "smart-open": "smart_open",
    "snakemake": "snakemake",
    "sympy": "sympy",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "tqdm": "tqdm",
    "traitlets": "traitlets",
    "transformers": "transformers",
    "urllib3": "urllib3",
}
TESTS_AND_COPIES = frozenset({"test", "tests", "testing", "_vendor", "vendor", "externals"})
# Parts of the standard library that some installations lack.
OPTIONAL_PARTS = frozenset({"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"})
LEFT_OUT_FOLDERS = TESTS_AND_COPIES | OPTIONAL_PARTS


class Root(NamedTuple):
    """A folder of source files; `package` is the prefix of their dotted names, empty for the standard library."""

    distribution: str
    version: str
    package: str
    folder: Path


def installed_roots() -> list[Root]:
    """Locate the standard library and the packages of `DISTRIBUTIONS`.

    Raises:
        InputError: a distribution is not installed, or its source folder is missing.
    """
    roots = [Root(STANDARD_LIBRARY, platform.python_version(), "", Path(sysconfig.get_path("stdlib")))]
    for name, package in DISTRIBUTIONS.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise InputError(
                f"the docstring data needs the distribution {name!r}, which is not installed here: "
                "install the dependencies of this project from its pinned environment"
            ) from error
        roots.append(Root(name, distribution.version, package, Path(str(distribution.locate_file(package)))))
    for root in roots:
        if not root.folder.is_dir():
            raise InputError(f"{root.folder}: no folder with the source of {root.distribution!r}; reinstall it")
    return roots


def source_files(root: Root) -> Iterator[tuple[str, Path]]:
    """Yield (module name, file) of every importable module under a root, sorted, without `LEFT_OUT_FOLDERS`."""
    for folder, subfolders, files in os.walk(root.folder):
        # Folders whose names are no identifiers (site-packages, lib-dynload) hold other packages or no source.
        subfolders[:] = sorted(name for name in subfolders if name.isidentifier() and name not in LEFT_OUT_FOLDERS)
        parts = Path(folder).relative_to(root.folder).parts
        for file in sorted(files):
            path = Path(folder, file)
            if path.suffix == ".py" and path.stem.isidentifier():
                names = (root.package, *parts, "" if path.stem == "__init__" else path.stem)
                yield ".".join(filter(None, names)), path


def docstrings(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, docstring) of the functions and classes in a body, except those inside functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}.{node.name}"
            if text := ast.get_docstring(node):
                yield name, text
            if isinstance(node, ast.ClassDef):
                yield from docstrings(node.body, name)
        elif isinstance(node, ast.If | ast.Try):  # the other branches define the same names again
            yield from docstrings(node.body, prefix)


def read_source(path: Path, module: str) -> tuple[list[tuple[str, str]], str | None]:
    """Return the (dotted name, docstring) pairs of a file, the module's first, and why it is unusable, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(path.read_bytes())
    except OSError:
        return [], "unreadable"
    except (SyntaxError, ValueError, RecursionError):  # a wrong encoding is a syntax error
        return [], "not Python"
    of_module = ast.get_docstring(tree)
    return [*([(module, of_module)] if of_module else []), *docstrings(tree.body, module)], None
