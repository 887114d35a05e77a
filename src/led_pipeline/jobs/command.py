"""Run a command's `main`, and turn errors that the user can fix into one line."""

import io
import os
import signal
import sys
from collections.abc import Callable

from led_pipeline.files.atomic import full_disk
from led_pipeline.files.errors import InputError
from led_pipeline.jobs import locks, processes


def run_main(main: Callable[[], None]) -> None:
    """Run a command's `main`; an `InputError` or a full disk becomes one line on stderr and exit status 2.

    Under Snakemake and torchrun the command ends with its parent process, and holds the GPUs of its job.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # logs are UTF-8 in every locale, like all files
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see led_pipeline/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        processes.end_with_parent()
        locks.hold_leased()
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os._exit(141)
    except Exception as error:
        if not full_disk(error):
            raise
        print(f"error: {error}; make room on that disk and rerun, finished results are kept", file=sys.stderr)
        sys.exit(2)
