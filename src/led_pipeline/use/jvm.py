"""JVM: Anserini's classes inside this process, for searches that must not wait for a new Java each."""

import sys
from threading import Lock
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.search.java import find_jar, find_java

LIBRARY = "libjvm.dylib" if sys.platform == "darwin" else "libjvm.so"
HEAP_MB = 1_024  # at most; Lucene maps its index instead of reading it into the heap
OPTIONS = (
    "-Xrs",  # signals stay with Python: Ctrl-C ends the prompt
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",  # otherwise Java writes a file with a predictable name to /tmp
    "-Dfile.encoding=UTF-8",
    "-Dsun.jnu.encoding=UTF-8",
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
    jpype.JClass("java.util.logging.LogManager").getLogManager().reset()
    return jpype
