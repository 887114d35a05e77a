"""Run lock: which Snakemake runs work on a dataset, so that what a killed one left is told from what a live one holds.

Snakemake's own lock is a file that says what a run reads and writes; it outlives kill -9, and the next run is refused.
Here every run has a file of its own, `.snakemake/led/<dataset>.*.run`, and holds it as long as it lives (`locks`). One
that finds no live run, but the file of one that was killed, removes the lock which that one left. It leaves a lock
alone where it cannot know: of another machine, whose processes cannot be seen; of jobs that SLURM may still compute; of
a workflow that is not this one.
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

LOCAL = (None, "local")  # executors whose jobs end with Snakemake; None: killed before it had started any
FORGOTTEN_S = 3_600  # a run takes Snakemake's lock sooner after its start
NOTE_BYTES = 1_000


def machine() -> dict[str, str]:
    """Return what tells this machine from others: its name, and the kernel that has been running since its start."""
    facts = {"host": platform.node()}
    with suppress(OSError):
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts["machine"] = Path("/etc/machine-id").read_text().strip()
    return facts


class Other:
    """What the file of another run says, and whether that run has ended for sure."""

    def __init__(self, path: Path):
        self.path = path
        try:
            note = json.loads("".join(_lines(path)) or "{}")
        except ValueError:
            note = {}  # cut off by a power loss
        self.host, self.process = note.get("host", "another machine"), note.get("process")
        self.since, self.executor = note.get("since", 0.0), note.get("executor")
        same = {name for name, value in machine().items() if value == note.get(name)}
        # The same kernel, or the same machine before it was started again: elsewhere, locks cannot be trusted.
        self.here = "boot" in same or {"host", "machine"} <= same
        self.ended = self.here and path.exists() and self._is_free()

    def _is_free(self) -> bool:
        try:
            file = locks.open_lock(self.path)
        except PermissionError:  # another user's
            return False
        try:
            return locks.take(file)
        finally:
            os.close(file)

    def advice(self, root: str) -> str:
        who = f"a run on {root} (process {self.process} on {self.host})"
        if not self.here:
            return f"{self.path}: {who} cannot be seen from this machine; if it has ended: snakemake --unlock"
        if not self.ended:
            return f"{self.path}: {who} is under way"
        return (
            f"{self.path}: {who} was killed, and its jobs may go on ({self.executor}); cancel them"
            " (docs/guides/cluster.md), then: snakemake --unlock"
        )


class Run:
    """This run of Snakemake on the results of one dataset, from when the Snakefile is read until the process ends."""

    def __init__(self, root: str, state: Path = Path(".snakemake")):
        """Note the run, and remove the lock of Snakemake that killed ones have left.

        Args:
            root: the folder of the results, `results/<dataset>`.
            state: the folder that Snakemake keeps its own files in.
        """
        self.root, self.state = root, state
        folder = state / "led"
        folder.mkdir(parents=True, exist_ok=True)
        guard = locks.open_lock(folder / "guard.lock")
        locks.wait(guard)  # of two runs that start together, the second must see the first
        try:
            others = sorted(folder.glob(f"{Path(root).name}.*.run"))
            self.path = folder / f"{Path(root).name}.{platform.node()}.{os.getpid()}-{time.time_ns()}.run"
            self._file = locks.open_lock(self.path)
            locks.take(self._file)
            self._since = self.path.stat().st_mtime
            self._write(None)
            self._clear([Other(path) for path in others])
        finally:
            os.close(guard)
        atexit.register(self.path.unlink, missing_ok=True)

    def started(self, executor: str) -> list[Path]:
        """Note what computes the jobs, once Snakemake's lock is held; return the unfinished files that were removed."""
        self._write(executor)
        return remove_unfinished(Path(self.root)) if executor in LOCAL else []

    def _write(self, executor: str | None) -> None:
        note = machine() | {"process": os.getpid(), "since": self._since, "executor": executor}
        os.pwrite(self._file, json.dumps(note).encode().ljust(NOTE_BYTES), 0)
        os.fsync(self._file)

    def _locks(self) -> list[Path]:
        """Return Snakemake's lock files that name results of the dataset."""
        files = sorted((self.state / "locks").glob("*.lock"))
        mine = f"{self.root}/"
        return [path for path in files if any(line.startswith(mine) for line in _lines(path))]

    def _clear(self, others: list[Other]) -> None:
        left = self._locks()
        if not left:
            for other in others:
                if other.ended or (not other.here and self._since - other.since > FORGOTTEN_S):
                    other.path.unlink(missing_ok=True)
            return
        for other in others:
            if not other.ended or other.executor not in LOCAL:
                print(other.advice(self.root), file=sys.stderr)
                return
        for path in left:
            if any(path.stat().st_mtime >= other.since for other in others):
                path.unlink()
                print(f"{path}: removed, a killed run on {self.root} had left it", file=sys.stderr)
        for other in others:
            other.path.unlink()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:  # its run ends just now
        return []
