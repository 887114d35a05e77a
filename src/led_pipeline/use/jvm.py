"""JVM: Anserini's classes inside this process, for searches that must not wait for a new Java each."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, current_thread, main_thread
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.search.java import find_jar, find_java

LIBRARY = "libjvm.dylib" if sys.platform == "darwin" else "libjvm.so"
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
HEAP_MB = 1_024  # at most; Lucene maps its index instead of reading it into the heap
OPTIONS = (
    "-Xrs",  # signals stay with Python: Ctrl-C ends the prompt
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",  # otherwise Java writes a file with a predictable name to /tmp
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-Dlog4j2.level=OFF",
    # No warnings: JPype loads a library, and Anserini's Lucene unmaps files in the old way. Java 21 lacks the second.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_starting = Lock()


def java(threads: int = 1) -> Any:
    """Return the module jpype with a running JVM; the first call starts it.

    A process has one JVM until it ends, with the number of threads of the first call.

    Raises:
        InputError: JPype, Java or the Anserini jar is missing, or the JVM does not start.
    """
    with _starting:
        return _started(threads)


def _started(threads: int) -> Any:
    try:
        import jpype
        import jpype.config
    except ImportError as error:
        raise InputError(
            "search: a Lucene index needs the package JPype1; pip install -c envs/constraints.txt JPype1"
        ) from error
    if jpype.isJVMStarted():
        return jpype
    library = find_java().resolve().parents[1] / "lib" / "server" / LIBRARY
    if not library.is_file():
        raise InputError(f"{library}: no such file, expected the library of this Java; point JAVA_HOME at a JDK")
    options = (*OPTIONS, f"-Xmx{HEAP_MB}m", f"-XX:ActiveProcessorCount={threads}")
    with _utf8_locale():
        try:
            jpype.startJVM(
                str(library),
                *options,
                classpath=[str(find_jar())],
                convertStrings=False,
                interrupt=False,  # keep Python's handler of Ctrl-C
                ignoreUnrecognized=True,
            )
        except (OSError, RuntimeError) as error:
            raise InputError(f"{library}: Java does not start in this process ({error})") from error
    jpype.config.destroy_jvm = False  # it would wait for threads that have ended
    # Otherwise the thread that releases Python's objects may ask for the GIL of an interpreter that is ending, and the
    # process aborts: "FATAL: exception not rethrown", status 134.
    atexit.register(jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance().stop)
    jpype.JClass("java.util.logging.LogManager").getLogManager().reset()
    return jpype


@contextmanager
def _utf8_locale() -> Iterator[None]:
    """Set the locale from which Java takes the encoding of file names, and the process its format of numbers."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = LOCALE
    try:
        yield
    finally:
        os.environ.pop("LC_ALL")
        if before is not None:
            os.environ["LC_ALL"] = before


def detach(jpype: Any) -> None:
    """Let go of Java in a thread that may end before the process does; its next call attaches it again."""
    if current_thread() is not main_thread():
        jpype.java.lang.Thread.detach()
