"""A SLURM cluster on this machine for tests: real daemons, simulated nodes, GPUs that are links to /dev/null.

Needs Debian's packages slurmctld, slurmd, slurm-client and munge; no database, no root, no service manager.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
DAEMONS = ("munged", "slurmctld", "slurmd")
SYSTEM_PATH = os.pathsep.join(["/usr/sbin", "/usr/bin", os.environ["PATH"]])
CPUS, MEMORY_MB, GPUS = 16, 16_000, 8  # of each node, whatever the machine has

# - A node is chosen by its feature, its name without a number.
# - linuxproc and no task plugin: nothing here may depend on cgroups.
# - A requeued job waits for its credential to expire: here seconds instead of minutes, but longer than KillWait, or it
#   might return to its node before its old processes have ended. Ended jobs stay in the queue's records for the tests.
CONFIG = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
GresTypes=gpu
DefMemPerCPU=100
KillWait=10
MinJobAge=3600
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 State=UP
"""
NODE = (
    "NodeName={name} NodeAddr=127.0.0.1 NodeHostname=localhost Port={port} Feature={feature}"
    " CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN\n"
)


def missing() -> str:
    """Return why no cluster can run on this machine, or the empty string."""
    absent = [name for name in DAEMONS if not shutil.which(name, path=SYSTEM_PATH)]
    return f"no {', '.join(absent)}; on Debian: apt-get install --no-install-recommends {PACKAGES}" if absent else ""


def wait_until(condition: Callable[[], object], event: str, seconds: float = 1800, pause: float = 0.1) -> object:
    """Return the first true value of a function; a TimeoutError names the event that has not happened."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {event}")
        time.sleep(pause)
    return value


class Cluster:
    """The daemons of some nodes, from `start` to `stop`; the folder `bin` has SLURM's commands for this cluster."""

    def __init__(self, folder: Path, nodes: Sequence[str]):
        self.folder, self.nodes = folder, nodes
        self.config = folder / "slurm.conf"
        self.processes: list[subprocess.Popen] = []

    def _write(self) -> None:
        sockets = [socket.socket() for _ in range(len(self.nodes) + 1)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        text = CONFIG.format(ports=ports, user=getpass.getuser(), folder=self.folder)
        size = {"cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
        text += "".join(
            NODE.format(name=n, port=p, feature=n.rstrip("0123456789"), **size)
            for n, p in zip(self.nodes, ports[1:], strict=True)
        )
        self.config.write_text(text)
        for name in ("state", "bin", "dev", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        for number in range(GPUS):  # SLURM needs a file per GPU; the numbers become CUDA_VISIBLE_DEVICES
            (self.folder / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/dev/nvidia[0-{GPUS - 1}]\n")
        version = re.search(r"(\d+)\.(\d+)", self._output(self._daemon("slurmd"), "-V"))
        if (int(version[1]), int(version[2])) >= (23, 2):  # older versions do not know this plugin and do not need it
            (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        # The executor removes SLURM_CONF from the environment of its jobs, so every command sets it.
        for name in ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"):
            wrapper = self.folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {self._daemon(name)} "$@"\n')
            wrapper.chmod(0o755)

    @staticmethod
    def _daemon(name: str) -> str:
        return shutil.which(name, path=SYSTEM_PATH) or name

    @staticmethod
    def _output(*command: object) -> str:
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout

    def _serve(self, name: str, *arguments: object) -> None:
        command = [self._daemon(name), *map(str, arguments)]
        log = (self.folder / f"{name}.start.log").open("a")
        environment = os.environ | {"SLURM_CONF": str(self.config)}
        self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, process_group=0))

    def start(self) -> None:
        self._write()
        key, place = self.folder / "munge.key", self.folder / "munge"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{kind}-file={place}.{kind}" for kind in ("pid", "log", "seed")]
        self._serve("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}.socket", *files)
        wait_until((self.folder / "munge.socket").exists, "munged answers", 30)
        self._serve("slurmctld", "-D", "-f", self.config)
        for node in self.nodes:
            self._serve("slurmd", "-D", "-N", node, "-f", self.config)
        wait_until(self._ready, f"all nodes are ready (see {self.folder}/*.log)", 60)

    def _ready(self) -> bool:
        command = [self.folder / "bin" / "sinfo", "--noheader", "--Node", "--format=%T", "--partition=gpu"]
        answer = subprocess.run(command, capture_output=True, text=True)
        return answer.stdout.split() == ["idle"] * len(self.nodes)

    def stop(self) -> None:
        try:
            if len(self.processes) > 1:
                subprocess.run([self.folder / "bin" / "scancel", f"--user={getpass.getuser()}"])
                wait_until(lambda: not self.queue(), "all jobs have ended", 120)
        finally:
            for process in reversed(self.processes):
                process.terminate()
            for process in reversed(self.processes):
                process.wait(timeout=120)

    def call(self, name: str, *arguments: object) -> str:
        """Return the output of one of SLURM's commands."""
        return self._output(self.folder / "bin" / name, *arguments)

    def queue(self, *arguments: str) -> list[str]:
        """Return the ids of the pending and running jobs."""
        return self.call("squeue", "--noheader", "--format=%i", *arguments).split()

    def job(self, number: str) -> dict[str, str]:
        """Return SLURM's record of a job, which may have ended."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.call("scontrol", "--oneliner", "show", "job", number)))
