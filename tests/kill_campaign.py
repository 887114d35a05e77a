"""Kill a run of the tiny recipe again and again, with SIGKILL, and compare its results with an undisturbed run.

Run as `python tests/kill_campaign.py --kills 100 --folder DIR`, or `make kill-test`. A fixed seed draws the victims:
Snakemake alone, the whole tree of processes, torchrun's agent, one of its ranks, java, a job's Python process or its
shell, in every kind of job in turn. After each kill the same command starts again. The campaign checks that every start
continues without another command, that no process outlives its run, that all results are equal to the bit, and that
nothing is left behind in the results or in the folder for temporary files.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from random_words import write_data

ROOT = Path(__file__).parents[1]
# The tiny recipe of the pipeline's tests, with one stage of each family.
RECIPE = yaml.safe_load((ROOT / "tests" / "pipeline" / "tiny.yaml").read_text())
RECIPE["dataset"] = {
    "name": "tiny", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}, "max_tokens": 64,
    "shards": 2,
}  # fmt: skip
RECIPE["evaluation"] = {"depth": 20}
RECIPE["stages"] = {name: RECIPE["stages"][name] for name in ("pretrain", "lex_warmup", "ranker", "led")}
RECIPE["stages"]["led"] |= {"init": "pretrain", "negatives": ["bm25", "lex_warmup"]}
VICTIMS = ("snakemake", "tree", "agent", "rank", "java", "helper", "shell")
POLL_S = 0.2
END_S = 20  # all processes of a killed run must end within this time
RUN_S = 3_600  # a run that takes longer hangs
# Keys with times, and files with times or with Lucene's ids.
TIMES = ("seconds", "created")
UNLIKE = (
    "benchmarks",
    "index/*",
    "provenance/contents.json",
    "**/train.jsonl",
    "preflight.json",
    "report/*",
    "models/*/README.md",
)


@dataclass
class Process:
    """A process of a run, as /proc shows it."""

    pid: int
    parent: int
    command: list[str]
    rank: bool = False

    @property
    def module(self) -> str:
        """The module of led_pipeline that it runs, or an empty string."""
        names = [word for word in self.command if word.startswith("led_pipeline.")]
        return names[-1].removeprefix("led_pipeline.") if names else ""

    @property
    def kind(self) -> str:
        program = Path(self.command[0]).name if self.command else ""
        if program == "bash":
            return "shell"
        if program == "java":
            return "java"
        if self.rank:
            return "rank"
        return "agent" if "led_pipeline.jobs.loopback" in self.command else "helper" if self.module else "other"


def processes(folder: Path) -> dict[int, Process]:
    """Return the running processes whose working folder is `folder` or below it."""
    running = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            where = (entry / "cwd").readlink()
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            rank = b"\0LOCAL_RANK=" in (entry / "environ").read_bytes()
        except OSError:  # it has just ended
            continue
        if state != "Z" and (where == folder or folder in where.parents):
            running[int(entry.name)] = Process(int(entry.name), int(parent), command, rank)
    return running


def job_of(process: Process, running: dict[int, Process]) -> str:
    """Return the module of the job that a process belongs to: its own, or that of the nearest relative that has one."""
    inner = [other for other in running.values() if other.parent == process.pid]
    if process.module and process.kind != "agent":
        return process.module
    around = running.get(process.parent)
    if process.kind in ("shell", "agent") and inner:
        return job_of(inner[0], running) if process.kind == "shell" else process.module
    return around.module if around else process.module


@dataclass
class Campaign:
    """A run in its own folder that is killed again and again."""

    folder: Path
    times: int = 1  # kills of each victim in each kind of job
    target: str = "led_final"
    done: Counter = field(default_factory=Counter)  # kills by job and victim
    faults: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.random = random.Random(self.times)
        for name in ("tmp", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.work = (self.folder / "work").resolve()
        if not (self.work / "data").exists():
            (self.work / "data").mkdir()
            write_data(self.work / "data")
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False))

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", self.target, "--cores", "2", "--quiet", "rules"]
        fixed = ("--snakefile", ROOT / "Snakefile", "--configfile", self.recipe, "--directory", self.work)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        variables = {"PATH": path, "XDG_CACHE_HOME": str(self.folder / ".cache"), "TMPDIR": str(self.folder / "tmp")}
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                [*command, *map(str, fixed)], cwd=self.work, env=os.environ | variables, stdout=log, stderr=log
            )

    def to_the_end(self) -> None:
        """Run without a kill."""
        if status := self.start().wait(timeout=RUN_S):
            self.fault(f"the undisturbed run ended with status {status}")

    def fault(self, text: str) -> None:
        self.faults.append(text)
        print(f"FAULT {text}", flush=True)

    def kill_once(self) -> bool:
        """Start the run, kill something in it, and wait for its end; return False if it was over before."""
        snakemake = self.start()
        begun = time.monotonic()
        after_s = self.random.random() * 2
        while snakemake.poll() is None and time.monotonic() - begun < RUN_S:
            running = processes(self.work)
            jobs = [each for each in running.values() if each.kind != "other" and job_of(each, running)]
            chosen = self.choose(jobs, running)
            if chosen:
                time.sleep(after_s)
                if self.kill(chosen, snakemake):
                    self.settle(snakemake, chosen)
                    return True
            time.sleep(POLL_S)
        if snakemake.poll() is None:
            self.fault(f"the run hangs: {[process.command[:4] for process in processes(self.work).values()]}")
            snakemake.kill()
        elif snakemake.returncode:
            self.fault(f"status {snakemake.returncode} though nothing was killed, see {self.folder}/snakemake.log")
        return False

    def choose(self, jobs: list[Process], running: dict[int, Process]) -> tuple[str, str] | None:
        """Return a job and a victim that is due in it, among those that were killed least often so far."""
        candidates = {(job_of(process, running), process.kind) for process in jobs}
        candidates |= {(job, victim) for job, _ in candidates for victim in ("snakemake", "tree")}
        due = sorted(pair for pair in candidates if self.done[pair] < self.times)
        rare = min((self.done_of(victim) for _, victim in due), default=0)
        return self.random.choice([pair for pair in due if self.done_of(pair[1]) == rare]) if due else None

    def done_of(self, victim: str) -> int:
        return sum(count for (_, other), count in self.done.items() if other == victim)

    def kill(self, chosen: tuple[str, str], snakemake: subprocess.Popen) -> bool:
        """Kill the chosen victim; return False if it has already ended."""
        job, victim = chosen
        running = processes(self.work)
        pids = [each.pid for each in running.values() if each.kind == victim and job_of(each, running) == job]
        if victim == "tree":
            pids = list(running)
        if victim == "snakemake":
            pids = [snakemake.pid]
        if not pids or snakemake.poll() is not None:
            return False
        for pid in pids if victim == "tree" else pids[:1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                if victim != "tree":
                    return False
        self.done[chosen] += 1
        return True

    def settle(self, snakemake: subprocess.Popen, chosen: tuple[str, str]) -> None:
        """Wait for the end of the run, which other jobs may delay, and check that no process lives on."""
        job, victim = chosen
        print(f"{sum(self.done.values()):4} {victim} in {job}", flush=True)
        try:
            snakemake.wait(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            self.fault(f"{victim} killed in {job}: the run hangs")
            snakemake.kill()
        end = time.monotonic() + END_S
        while (left := processes(self.work)) and time.monotonic() < end:
            time.sleep(POLL_S)
        for process in left.values():
            self.fault(f"{victim} killed in {job}: {' '.join(process.command)[:200]} lives on")
            os.kill(process.pid, signal.SIGKILL)

    def compare(self, whole: "Campaign") -> int:
        """Compare all results with those of an undisturbed run; return the number of files compared."""
        mine, others = (results(each.work) for each in (self, whole))
        for name in sorted(mine.keys() ^ others.keys()):
            self.fault(f"{name} is only in one of the two runs")
        for name in sorted(mine.keys() & others.keys()):
            if content(mine[name]) != content(others[name]):
                self.fault(f"{name} differs")
        return len(mine.keys() & others.keys())

    def check_leftovers(self) -> None:
        """Check that killed processes left no files behind."""
        temporary = self.folder / "tmp"
        # Snakemake leaves an empty folder itself, and files of its scheduler.
        expected = {path for path in temporary.glob("snakemake*") if not any(path.iterdir())}
        expected |= set(temporary.glob("*-pulp.*"))
        for path in {*self.work.rglob(".*.part"), *temporary.iterdir()} - expected:
            self.fault(f"{path} is left")
        for name in ("locks/*", "led/*.run", "incomplete/*"):
            for path in (self.work / ".snakemake").glob(name):
                self.fault(f"{path} is left")


def results(work: Path) -> dict[str, Path]:
    """Return all results that must be equal to the bit, by their path."""
    root = work / "results" / "tiny"
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    unlike = {str(path.relative_to(root)) for pattern in UNLIKE for path in root.glob(pattern)}
    return {
        name: path
        for name, path in files.items()
        if not any(name == other or name.startswith(f"{other}/") for other in unlike) and "checkpoints/" not in name
    }


def content(path: Path) -> object:
    """Return the bytes of a file, or the parsed JSON without its times."""
    if path.suffix != ".json":
        return path.read_bytes()
    value = json.loads(path.read_text())
    return {key: item for key, item in value.items() if key not in TIMES} if isinstance(value, dict) else value


def campaign(folder: Path, kills: int, target: str = "led_final") -> tuple[Counter, list[str]]:
    """Run once without and then with kills; return the kills, by job and victim, and the faults."""
    begun = time.monotonic()
    whole = Campaign(folder / "whole", target=target)
    whole.to_the_end()
    print(f"undisturbed: {time.monotonic() - begun:.0f} s", flush=True)
    total, campaigns = Counter(), [whole]
    while sum(total.values()) < kills and not any(each.faults for each in campaigns):
        killed = Campaign(folder / f"killed.{len(campaigns)}", len(campaigns), target, total)
        campaigns.append(killed)
        while sum(total.values()) < kills and killed.kill_once():
            pass
        killed.to_the_end()
        print(f"{killed.compare(whole)} files compared", flush=True)
        killed.check_leftovers()
    return total, [fault for each in campaigns for fault in each.faults]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--target", default="led_final", help="target of Snakemake, for a shorter campaign")
    parser.add_argument("--folder", type=Path, required=True, help="an empty or a new folder")
    arguments = parser.parse_args()
    begun = time.monotonic()
    total, faults = campaign(arguments.folder.resolve(), arguments.kills, arguments.target)
    for victim in VICTIMS:
        jobs = {job: count for (job, other), count in sorted(total.items()) if other == victim}
        print(f"{victim:9} {sum(jobs.values()):4} kills in {len(jobs)} kinds of jobs")
    print(f"{sum(total.values())} kills, {len(faults)} faults, {time.monotonic() - begun:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
