"""Compile the loops of `term_kernels`, once per machine and version, and keep the machine code in a cache.

The cache is a folder per processor type, Python, numba and text of the loops, so that machines with different
processors may share a home folder. A process compiles into a folder of its own and renames it when it is complete:
several processes never write to one folder, and a complete one is never changed. The folders are in
`$NUMBA_CACHE_DIR`, otherwise in `$XDG_CACHE_HOME/led_pipeline` (`~/.cache/led_pipeline`); they can be removed at any
time. Where nothing can be written, every process compiles for itself, and says so.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from led_pipeline.files.atomic import keep_through_power_loss, scratch
from led_pipeline.files.digests import digest, fingerprint


def cache_folder() -> Path:
    """Return the folder of all compiled versions; it need not exist."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "led_pipeline"
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "led_pipeline"
    try:
        return Path.home() / ".cache" / "led_pipeline"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"led_pipeline-{os.getuid()}"


def _version() -> str:
    """Return a digest of all that the machine code depends on."""
    import llvmlite
    import llvmlite.binding
    import numba

    from led_pipeline.search import posting_lists, term_kernels

    sources = [Path(str(module.__file__)) for module in (term_kernels, posting_lists)]
    processor = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    overridden = [os.environ.get(name) for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT")]
    # numba compares the time of the source, too, and would write into a folder with another one.
    code = [(str(source), source.stat().st_mtime_ns, digest(source)) for source in sources]
    return fingerprint([*processor, *overridden, *code, sys.version, numba.__version__, llvmlite.__version__])


@cache
def search_kernel() -> Callable[..., None]:
    """Return `term_kernels.search` as machine code, which needs no lock of the interpreter."""
    try:
        folder = cache_folder() / _version()
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with scratch(folder) as place:
                _compile(place / "code")
                keep_through_power_loss(place / "code")
                with suppress(OSError):  # another process was faster
                    (place / "code").rename(folder)
        return _compile(folder)
    except OSError as error:
        print(
            f"compiled loops are not kept, {cache_folder()} cannot be used ({error}): every job compiles them again,"
            " which takes some seconds; name a folder in NUMBA_CACHE_DIR",
            file=sys.stderr,
        )
        return _compile(None)


def _compile(folder: Path | None) -> Callable[..., None]:
    """Return the kernel, read from a cache folder if that has it, otherwise compiled and written there."""
    import numba

    from led_pipeline.search import term_kernels

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = "" if folder is None else str(folder)
    try:
        compiler = numba.njit(
            term_kernels.signature(), nogil=True, error_model="numpy", cache=folder is not None, boundscheck=False
        )
        kernel: Callable[..., Any] = compiler(term_kernels.search)
    finally:
        numba.config.CACHE_DIR = before
    return kernel
