"""Experiments with a small version of the demo recipe, run by Snakemake on a cluster and disturbed on purpose."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from configs import RECIPES, changed, without_extras
from random_words import write_data
from slurm_cluster import MEMORY_MB, Cluster, wait_until

ROOT = Path(__file__).parents[2]
PROBE = Path(__file__).with_name("probe")
TRAINED = "results/demo/models/den_warmup"
STEPS = 24
# Random words instead of docstrings, published negatives instead of BM25; a checkpoint after every training step.
SMALL = changed(
    without_extras(RECIPES["demo.yaml"]),
    {
        "dataset": {
            "name": "demo", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}},
            "negatives": {"published": "negatives.tsv"},
        },
        "stages.den_warmup.negatives": ["published"],
        "stages.lex_warmup.negatives": ["published"],
        "stages.pretrain": {
            "family": "pretrain", "vocabulary": 1000, "hidden": 32, "layers": 1, "intermediate": 64, "positions": 64,
        },
        "defaults.batch_size": 8,
        "defaults.epochs": 3,
        "defaults.max_steps": STEPS,
        "defaults.checkpoint_min": 1e-6,
        "defaults.query_length": 16,
        "defaults.passage_length": 32,
        "resources": {
            "train": {"gpu": 2, "threads": 2, "mem_mb": 2000, "runtime_min": 30},
            "encode": {"gpu": 2, "threads": 2, "mem_mb": 2000, "runtime_min": 30},
            "search": {"gpu": 1, "mem_mb": 2000, "runtime_min": 30},
            "cpu": {"mem_mb": 2000, "runtime_min": 30},
        },
    },
)  # fmt: skip


def snakemake(folder: Path, config: dict, *arguments: str) -> list[str]:
    """Return the command that builds some targets in a folder."""
    (folder / "config.yaml").write_text(json.dumps(config))
    fixed = ("--snakefile", ROOT / "Snakefile", "--configfile", folder / "config.yaml")
    return [sys.executable, "-m", "snakemake", *map(str, (*arguments, *fixed))]


def environment(folder: Path, *programs: Path) -> dict[str, str]:
    """Return the environment of a run in a folder, with extra programs, this Python and the probe in every process."""
    modules = filter(None, [str(PROBE), os.environ.get("PYTHONPATH")])
    return os.environ | {
        "PATH": os.pathsep.join(map(str, [*programs, Path(sys.executable).parent, os.environ["PATH"]])),
        "PYTHONPATH": os.pathsep.join(modules),
        "PROBE": str(folder / "notes"),
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }


def prepare(folder: Path) -> None:
    """Build the inputs of the warm-up trainings on this machine, without the cluster."""
    for name in ("notes", "data"):
        (folder / name).mkdir(parents=True)
    write_data(folder / "data")
    targets = (TRAINED, "results/demo/models/lex_warmup", "--omit-from", "train", "--cores", "2")
    command = snakemake(folder, SMALL, *targets)
    variables = environment(folder) | {"LED_GPUS": "elsewhere"}  # the GPUs are on the cluster
    answer = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class Run:
    """A run with the profile in its own folder, which starts with the inputs of the trainings."""

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, cluster: Cluster, prepared: Path, *targets: str, node: str, **resources: int):
        """Start the run; `resources` are those of trainings, and all jobs run on the nodes with the feature `node`."""
        self.cluster, self.folder = cluster, prepared.with_name(node)
        shutil.copytree(prepared, self.folder, ignore=shutil.ignore_patterns("notes"))
        (self.folder / "notes").mkdir()
        config = changed(SMALL, {"resources.train": SMALL["resources"]["train"] | resources})
        # Beyond the profile: this cluster has no accounting and short jobs.
        extra = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3")
        self.command = snakemake(self.folder, config, *targets, "--profile", str(ROOT / "profiles/slurm"), *extra)
        self.options = {"cwd": self.folder, "env": environment(self.folder, cluster.folder / "bin")}
        self.options["env"] |= {"SBATCH_CONSTRAINT": node}
        self.output = self.folder / "snakemake.log"
        # If the tests run in the background, their children ignore Ctrl-C; this one must not.
        interruptible = {"process_group": 0, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        with self.output.open("w") as log:
            self.process = subprocess.Popen(self.command, **self.options, **interruptible, stdout=log, stderr=log)
        self.started.append(self.process)

    def queue(self) -> list[str]:
        """Return the pending and running jobs of this run."""
        return self.cluster.queue(f"--name={self.name}")

    @property
    def name(self) -> str:
        """The name of the run's jobs, as Snakemake prints it at the start."""
        match = re.search(r"SLURM run ID: (\S+)", self.output.read_text())
        return match[1] if match else "none"

    def finish(self) -> "Run":
        """Wait until the run has finished."""
        assert self.process.wait(timeout=1800) == 0, self.report()
        return self

    def report(self) -> str:
        logs = sorted(self.folder.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)[-2:]
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in (self.output, *logs))

    def notes(self) -> list[dict]:
        """Return the processes' notes so far, oldest first."""
        notes = [json.loads(path.read_text()) for path in (self.folder / "notes").glob("*.json")]
        return sorted(notes, key=lambda note: note["time"])

    def ranks(self, job: str | None = None) -> list[dict]:
        """Return the notes of the processes under torchrun, of all jobs or of one."""
        return [note for note in self.notes() if note["RANK"] and job in (None, note["SLURM_JOB_ID"])]

    def checkpoint(self) -> int:
        """Return the step of the last checkpoint, 0 without one."""
        try:
            paths = list(self.folder.glob("results/demo/checkpoints/den_warmup/**/progress.json"))
            return max((json.loads(path.read_text())["step"] for path in paths), default=0)
        except FileNotFoundError:  # it is being replaced
            return 0

    def frozen_after(self, step: int) -> tuple[str, int]:
        """Freeze the training once it has a checkpoint after a step; return its job and the checkpoint's step."""
        wait_until(lambda: self.checkpoint() > step or self.process.poll() is not None, f"step {step + 1}", pause=0.01)
        last = max(self.ranks(), key=lambda note: note["time"])
        alive = [note["pid"] for note in self.ranks(last["SLURM_JOB_ID"]) if Path(f"/proc/{note['pid']}").exists()]
        for pid in alive:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, alive)), "the processes are stopped", 30)
        return last["SLURM_JOB_ID"], self.checkpoint()

    def first_logged_step(self) -> int:
        """Return the first step in the log of the last attempt; Snakemake deletes the logs of the others."""
        log = (self.folder / "logs/demo/train/den_warmup.log").read_text()
        return int(re.search(r'step"?:? (\d+)', log)[1])


def whole(cluster: Cluster, prepared: Path) -> dict:
    """A training, two simultaneous encodings and a search, on one node."""
    return {"run": Run(cluster, prepared, "results/demo/rankings/den_warmup.dev.parquet", node="whole").finish()}


def limit(cluster: Cluster, prepared: Path) -> dict:
    """A training that hangs until its time limit, and meanwhile a second Snakemake in its folder."""
    run = Run(cluster, prepared, TRAINED, node="limit")
    job, step = run.frozen_after(2)
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")  # the next attempt has the recipe's time again
    second = subprocess.run(run.command, **run.options, capture_output=True, text=True)
    return {"job": job, "step": step, "second": second, "run": run.finish()}


def killed(cluster: Cluster, prepared: Path) -> dict:
    """A training that is preempted by a more urgent job, and cancelled when it runs again."""
    run = Run(cluster, prepared, TRAINED, node="killed")
    job, step = run.frozen_after(2)
    urgent = ("--partition=urgent", "--constraint=killed", "--gres=gpu:8", "--output=/dev/null", "--wrap=true")
    cluster.call("sbatch", *urgent)
    again, later = run.frozen_after(step + 4)
    cluster.call("scancel", again)
    return {"jobs": (job, again), "steps": (step, later), "run": run.finish()}


def across(cluster: Cluster, prepared: Path) -> dict:
    """One training on two nodes."""
    return {"run": Run(cluster, prepared, TRAINED, node="across", nodes=2).finish()}


def interrupted(cluster: Cluster, prepared: Path) -> dict:
    """Ctrl-C while one training runs and another waits for the first one's memory."""
    targets = (TRAINED, "results/demo/models/lex_warmup")
    run = Run(cluster, prepared, *targets, node="interrupted", gpu=1, mem_mb=MEMORY_MB)
    wait_until(lambda: run.ranks() and len(run.queue()) == 2, "one training runs, one waits")
    before = {job: cluster.job(job)["JobState"] for job in run.queue()}
    os.killpg(run.process.pid, signal.SIGINT)
    status = run.process.wait(timeout=600)
    return {"run": run, "before": before, "status": status, "after": run.queue()}


# Each has its own nodes, named after it.
EXPERIMENTS = (whole, limit, killed, across, interrupted)
