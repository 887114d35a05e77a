"""Measure how long the systems of a run take to answer a query, cold and warm.

Run as `python benchmarks/search.py --results results/demo --queries 300 --threads 1`. Each system gets a process of its
own: the cold start is the time from the start of Python to the first answer, with all imports, the model and Java. Then
the first queries of the split are asked one after another, and the table has the median and the 95th percentile.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from led_pipeline.columns import aligned
from led_pipeline.data.tables import read_column
from led_pipeline.use.session import Session

FIRST = "what is a heap queue"


def measure(results: Path, system: str, split: str, queries: int, depth: int, threads: int) -> dict[str, float]:
    """Return seconds until the first answer, counted from the call, and percentiles of the others in milliseconds."""
    with Session.open(results, systems=[system], threads=threads) as session:
        session.search(FIRST, system, depth)
        texts = read_column(session.layout.queries(split), "text")[:queries]
        for text in texts[:20]:
            session.search(text, system, depth)
        times = [session.search(text, system, depth).milliseconds for text in texts]
    return {"p50": float(np.percentile(times, 50)), "p95": float(np.percentile(times, 95)), "queries": len(times)}


def cold(results: Path, system: str, depth: int, threads: int) -> float:
    """Return the seconds of `led search` with one query, from start to end."""
    command = [sys.executable, "-m", "led_pipeline.cli", "search", FIRST, "--results", str(results)]
    command += ["--system", system, "--depth", str(depth), "--threads", str(threads)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--system", help="measure this one in this process and print JSON")
    a = parser.parse_args()
    if a.system:
        print(json.dumps(measure(a.results, a.system, a.split, a.queries, a.depth, a.threads)))
        return
    with Session.open(a.results) as session:
        systems, passages = session.systems, len(read_column(session.layout.passages, "id"))
    print(f"{passages:,} passages, {a.depth} results, {a.threads} thread(s), {os.cpu_count()} processors\n")
    rows = [["system", "cold start, s", "p50, ms", "p95, ms"]]
    for system in systems:
        command = [sys.executable, *sys.argv, "--system", system]
        warm = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = cold(a.results, system, a.depth, a.threads)
        rows.append([system, f"{seconds:.1f}", f"{warm['p50']:.1f}", f"{warm['p95']:.1f}"])
    print(aligned(rows))


if __name__ == "__main__":
    main()
