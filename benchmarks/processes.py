"""Run a shell command and measure its time, the memory of all its processes, and its disk use."""

import os
import subprocess
import time
from collections import Counter
from pathlib import Path

INTERVAL_S = 0.1
PAGE_KINDS = ("RssAnon", "RssFile", "RssShmem")


def run_measured(command: str, folder: Path, environment: dict[str, str], grows: Path) -> dict[str, float]:
    """Run a command in a folder and return its measurements.

    Returns:
        wall_s, and cpu_s (user and system, of all processes); sampled peaks of the memory of all processes together:
        anonymous (heaps and stacks) and mapped (pages of files, which the kernel may reclaim); disk_peak: the largest
        growth of the folder `grows`.
    """
    before = disk_bytes(grows)
    started, looked = time.monotonic(), 0.0
    process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, start_new_session=True)
    peaks: Counter[str] = Counter()
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        for name, value in _memory(process.pid).items():
            peaks[name] = max(peaks[name], value)
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            peaks["disk_peak"] = max(peaks["disk_peak"], disk_bytes(grows) - before)
        time.sleep(INTERVAL_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {command}")
    return {
        "wall_s": time.monotonic() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "anonymous": peaks["RssAnon"] + peaks["RssShmem"],
        "mapped": peaks["RssFile"],
        "disk_peak": max(peaks["disk_peak"], disk_bytes(grows) - before),
    }


def _memory(session: int) -> Counter[str]:
    """Return bytes by kind of page, summed over the processes of a session."""
    total: Counter[str] = Counter()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.getsid(int(entry.name)) != session:
                continue
            status = (entry / "status").read_text()
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            continue  # it has ended
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name in PAGE_KINDS:
                total[name] += int(value.split()[0]) * 1024
    return total


def disk_bytes(path: Path) -> int:
    """Return the size of a file or of all files in a folder; 0 if it does not exist."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue  # a temporary file that is gone
    return total
