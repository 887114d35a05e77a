"""Track the Snakemake runs on a dataset, and remove Snakemake's lock if the run that held it was killed.

Snakemake's lock is a file that lists what a run reads and writes; it survives kill -9, and the next run is refused.
Here every run also has its own file, `.snakemake/led/<dataset>.*.run`, and keeps it locked as long as it lives
(`locks`). A new run that finds the file of a killed run, and no live run, removes the killed run's Snakemake lock. It
keeps any lock whose holder it cannot check: of a run on another machine, of jobs that SLURM may still be running, of
another workflow.
"""

import atexit
import json
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path

from led_pipeline.files.atomic import remove_unfinished
from led_pipeline.jobs import locks

LOCAL = (None, "local")  # executors whose jobs end with Snakemake; None: killed before it started any job
FORGOTTEN_S = 3_600  # every run takes Snakemake's lock within this time after its start
NOTE_BYTES = 1_000


def machine() -> dict[str, str]:
    """Return what identifies this machine and its current boot: host name, boot id and machine id."""
    facts = {"host": platform.node()}
    with suppress(OSError):
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts["machine"] = Path("/etc/machine-id").read_text().strip()
    return facts


class OtherRun:
    """The note in another run's file, and whether that run has certainly ended."""

    def __init__(self, path: Path):
        self.path = path
        try:
            note = json.loads("".join(_lines(path)) or "{}")
        except ValueError:
            note = {}  # truncated by a power loss
        self.host, self.process = note.get("host", "another machine"), note.get("process")
        self.since, self.executor = note.get("since", 0.0), note.get("executor")
        same = {name for name, value in machine().items() if value == note.get(name)}
        # The same boot, or an earlier boot of the same machine: across machines, locks cannot be trusted.
        self.on_this_machine = "boot" in same or {"host", "machine"} <= same
        self.ended = self.on_this_machine and path.exists() and self._is_free()

    def _is_free(self) -> bool:
        try:
            file = locks.open_lock(self.path)
        except PermissionError:  # it belongs to another user
            return False
        try:
            return locks.take(file)
        finally:
            os.close(file)

    def advice(self, root: str) -> str:
        who = f"a run on {root} (process {self.process} on {self.host})"
        if not self.on_this_machine:
            return f"{self.path}: {who} cannot be checked from this machine; if it has ended: snakemake --unlock"
        if not self.ended:
            return f"{self.path}: {who} is still running"
        return (
            f"{self.path}: {who} was killed, and its jobs may still be running ({self.executor}); cancel them"
            " (docs/guides/cluster.md), then: snakemake --unlock"
        )


class Run:
    """This run of Snakemake on one dataset's results, from reading the Snakefile until the process ends."""

    def __init__(self, root: str, state: Path = Path(".snakemake"), executor: str | None = None):
        """Register the run, and remove the Snakemake locks of killed runs.

        Args:
            root: the folder of the results, `results/<dataset>`.
            state: Snakemake's folder for its own files.
            executor: what is recorded until `started`; None: jobs start only after `started`.
        """
        self.root, self.state = root, state
        folder = state / "led"
        folder.mkdir(parents=True, exist_ok=True)
        guard = locks.open_lock(folder / "guard.lock")
        locks.wait(guard)  # if two runs start at the same time, the second must see the first
        try:
            others = sorted(folder.glob(f"{Path(root).name}.*.run"))
            self.path = folder / f"{Path(root).name}.{platform.node()}.{os.getpid()}-{time.time_ns()}.run"
            self._file = locks.open_lock(self.path)
            locks.take(self._file)
            self._since = self.path.stat().st_mtime
            self._write(executor)
            self._remove_stale([OtherRun(path) for path in others])
        finally:
            os.close(guard)
        atexit.register(self.path.unlink, missing_ok=True)

    def started(self, executor: str) -> list[Path]:
        """Record the executor once Snakemake holds its lock; remove unfinished files and return their paths."""
        self._write(executor)
        return remove_unfinished(Path(self.root)) if executor in LOCAL else []

    def _write(self, executor: str | None) -> None:
        note = machine() | {"process": os.getpid(), "since": self._since, "executor": executor}
        os.pwrite(self._file, json.dumps(note).encode().ljust(NOTE_BYTES), 0)
        os.fsync(self._file)

    def _locks(self) -> list[Path]:
        """Return Snakemake's lock files that list results of the dataset."""
        files = sorted((self.state / "locks").glob("*.lock"))
        prefix = f"{self.root}/"
        return [path for path in files if any(line.startswith(prefix) for line in _lines(path))]

    def _remove_stale(self, others: list[OtherRun]) -> None:
        """Remove the locks and files of killed runs; if any run may still be alive, print advice instead."""
        lock_files = self._locks()
        if not lock_files:
            for other in others:
                if other.ended or (not other.on_this_machine and self._since - other.since > FORGOTTEN_S):
                    other.path.unlink(missing_ok=True)
            return
        for other in others:
            if not other.ended or other.executor not in LOCAL:
                print(other.advice(self.root), file=sys.stderr)
                return
        for path in lock_files:
            if any(path.stat().st_mtime >= other.since for other in others):
                path.unlink()
                print(f"{path}: removed the lock of a killed run on {self.root}", file=sys.stderr)
        for other in others:
            other.path.unlink()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:  # its run has just ended
        return []
