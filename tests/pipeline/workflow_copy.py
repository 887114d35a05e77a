"""A copy of the workflow in its own folder, the plans of Snakemake for it, and fake jobs."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FAKE_JOB = Path(__file__).with_name("fake_job.sh")
ALL_AT_ONCE = ("--cores", "8", "--resources", "gpu=8")
DOWNSTREAM = "Input files updated by another job"


@dataclass(frozen=True)
class Job:
    """A job of a plan; files relative to the results of the dataset."""

    rule: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    reason: str


class Plan:
    """The jobs that a dry run lists."""

    def __init__(self, text: str):
        self.jobs = [_job(block) for block in re.split(r"^(?=(?:local)?rule \w+:$)", text, flags=re.M)[1:]]

    @property
    def counts(self) -> Counter[str]:
        return Counter(job.rule for job in self.jobs)

    @property
    def outputs(self) -> set[str]:
        return {file for job in self.jobs for file in job.outputs}

    def triggered(self) -> set[str]:
        """Return the outputs of jobs with their own reason to run, without those that only follow an earlier job."""
        return {file for job in self.jobs if not job.reason.startswith(DOWNSTREAM) for file in job.outputs}

    def downstream(self, files: Iterable[str]) -> set[str]:
        """Return some files and all their dependents."""
        reached = set(files)
        while more := {f for job in self.jobs if job.inputs & reached for f in job.outputs} - reached:
            reached |= more
        return reached


def _job(block: str) -> Job:
    def field(name: str) -> str:
        match = re.search(rf"^    {name}: (.*)$", block, flags=re.M)
        return match[1] if match else ""

    def files(name: str) -> frozenset[str]:
        entries = filter(None, field(name).split(", "))  # Snakemake adds flags: "preflight.json (update)"
        return frozenset(re.sub(r"^results/\w+/| \(\w+\)$", "", file) for file in entries)

    rule = re.match(r"(?:local)?rule (\w+):", block)
    return Job(rule[1], files("input"), files("output"), field("reason"))


class WorkflowCopy:
    """The tracked files that a run needs, in an empty folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        without = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in ("workflow", "config", "src", "envs"):
            shutil.copytree(ROOT / name, folder / name, ignore=without)
        shutil.copy(ROOT / "Snakefile", folder)
        fake = folder / "fake" / "python"
        fake.parent.mkdir()
        fake.write_text(FAKE_JOB.read_text())
        fake.chmod(0o755)

    def snakemake(self, *arguments: str | Path, fake: bool = False, **environment: str) -> subprocess.CompletedProcess:
        """Run Snakemake in the copy; with `fake`, jobs only create the files that their commands name."""
        command, options = self.command(*arguments), self.options(fake, **environment)
        return subprocess.run(command, **options, capture_output=True, text=True)

    def run_fake_jobs(self, config: dict, *arguments: str, status: int = 0, **environment: str):
        """Run a config to its end with fake jobs, and check the exit status."""
        where = ("--configfile", self.write_config(config))
        answer = self.snakemake("led_final", *ALL_AT_ONCE, *arguments, *where, fake=True, **environment)
        assert answer.returncode == status, answer.stdout + answer.stderr
        return answer

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "snakemake", *map(str, arguments)]

    def options(self, fake: bool = False, **environment: str) -> dict[str, Any]:
        path = [str(self.folder / "fake")] if fake else []
        environment = os.environ | {
            "PATH": os.pathsep.join([*path, str(Path(sys.executable).parent), os.environ["PATH"]]),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "HF_HUB_OFFLINE": "0",
            **environment,
        }
        return {"cwd": self.folder, "env": environment}

    def write_config(self, config: dict, name: str = "changed.yaml") -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def plan(self, *arguments: str | Path, config: dict | None = None) -> Plan:
        """Return the plan for some targets; the default config is that of the copy."""
        configured = ["--configfile", self.write_config(config)] if config else []
        answer = self.snakemake(*arguments, "--dry-run", *configured)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return Plan(answer.stdout)
