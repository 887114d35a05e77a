"""Launch: start a torchrun job, one process per GPU, on GPUs that no other job of ours uses. No science in here.

Run as `python -m led_pipeline.jobs.launch --gpu N --threads T -- MODULE ARGUMENTS`. With `--gpu 0` one process runs on
the CPU (gloo); with `--plain` one process gets all the GPUs, without torchrun. Snakemake counts GPUs but does not say
which, so devices are leased with file locks. The launcher then becomes the job (exec), which keeps the locks: the
kernel releases them however it dies, and signals and exit codes need no forwarding. The processes that torchrun starts
end with it, and hold the same locks: a device is free when nothing of the job computes any more. Where
CUDA_VISIBLE_DEVICES is set (by SLURM, by the user), only those devices are taken. A SLURM job may see its devices under
numbers of its own, so its locks are its own. On one machine all listens on the loopback interface. With `--nodes`
(inside a SLURM job of as many nodes) the launcher becomes an srun that starts itself once per node, and there torchrun,
so that all processes form one world.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import locks, processes
from led_pipeline.jobs.command import run_main

POLL_S = 0.5
PORTS = range(20_000, 30_000)  # below those that Linux gives to outgoing connections
# On the CPU, tensors of tens of megabytes come and go at every step. By default glibc gets each from the kernel and
# gives it back, page by page; kept, they save about a tenth of a large batch's time. What the user has set stays.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def visible_devices() -> list[str]:
    """Return the GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, _ in enumerate(listed.stdout.splitlines())]


def lease(count: int, devices: list[str], folder: Path) -> dict[str, int]:
    """Return `count` of the devices with the descriptor of the lock that holds each, waiting for other jobs to end.

    All are taken at once or none, one attempt at a time, so two jobs can never wait for each other. A device is given
    back when its descriptor is closed, at the latest by the end of the process (and of what it becomes), unless
    processes that it started hold the device, too (`locks.hold_leased`).

    Raises:
        InputError: there are fewer devices than asked for, so waiting would never end; the folder is not this user's.
    """
    if count > len(devices):
        raise InputError(
            f"this job asks for {count} GPUs and {len(devices)} are visible; lower resources.*.gpu in the config"
            " (0 runs on the CPU) or set CUDA_VISIBLE_DEVICES"
        )
    inside = locks.private_folder(folder)
    os.set_inheritable(inside, True)
    while True:
        held: dict[str, int] = {}
        attempt = locks.open_lock("attempt.lock", inside)
        locks.wait(attempt)
        for device in devices:
            if len(held) < count and (file := _try_lock(lock_name(device), inside)) is not None:
                held[device] = file
        os.close(attempt)
        if len(held) == count:
            return held
        for file in held.values():
            os.close(file)
        time.sleep(POLL_S)


def _try_lock(name: Path | str, folder: int | None = None) -> int | None:
    """Return the descriptor of a free device's lock file, locked and inheritable, or None."""
    file = locks.open_lock(name, folder)  # it stays open for as long as the device is held
    if not locks.take_for_group(file):
        os.close(file)
        return None
    os.set_inheritable(file, True)
    return file


def lock_name(device: str) -> str:
    return f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"


def lock_folder() -> Path:
    """Return where the lock files of this user's devices lie: one folder per machine, per node of a SLURM job.

    XDG_RUNTIME_DIR would not do: it goes when the user logs out, and the locks of what still runs with it.
    """
    scope = ["led-gpus", str(os.getuid()), *(os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "NODEID"))]
    return Path(tempfile.gettempdir(), "-".join(filter(None, scope)))


def torchrun_command(module: str, arguments: list[str], count: int, nodes: int = 1, port: int = 0) -> list[str]:
    """Return the command that runs `count` processes of a module under torchrun on this machine, tied to torchrun.

    On one node the processes meet at a free port of the loopback interface. On one of several, inside the srun of
    `srun_command`, they meet at the first node, where that srun was called. torchrun's folder of logs, always empty
    here, is not made.
    """
    meet = ["led_pipeline.jobs.loopback"]
    if nodes > 1:
        rank, address = os.environ["SLURM_NODEID"], os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        meet = ["torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={rank}"]
        meet += [f"--master-addr={address}", f"--master-port={port}"]
    run = [sys.executable, "-m", *meet, f"--log-dir={os.devnull}", f"--nproc-per-node={count}", "--no-python"]
    return [*run, *processes.tied([sys.executable, "-u", "-m", module, *arguments])]


def loopback_environment() -> dict[str, str]:
    """Return what keeps the connections of gloo and NCCL within this machine."""
    name = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), name) if name else {}


def srun_command(nodes: int, threads: int, arguments: list[str]) -> list[str]:
    """Return the command that runs this launcher once on every node of the SLURM job that it is in.

    Every option is written out: the executor takes SLURM's variables out of the environment, on which srun relies.

    Raises:
        InputError: this is no SLURM job.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        raise InputError(
            f"this job asks for {nodes} nodes, and only SLURM gives several; run with --profile profiles/slurm,"
            " or set resources.train.nodes in the config to 1"
        )
    run = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    port = PORTS[int(job) % len(PORTS)]  # two jobs on one node have different ones
    return [*run, "--kill-on-bad-exit=1", sys.executable, "-m", __spec__.name, f"--port={port}", *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a module on leased GPUs, one process each.")
    parser.add_argument("--gpu", type=int, required=True, help="GPUs and processes; 0 for one process on the CPU")
    parser.add_argument("--processes", type=int, help="processes on the CPU, with --gpu 0 (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the whole job, on each node")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the SLURM job to run on")
    parser.add_argument("--port", type=int, help="set by the launcher itself, where it runs on one of several nodes")
    parser.add_argument("--plain", action="store_true", help="one process with all the GPUs, without torchrun")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- MODULE ARGUMENTS")
    a = parser.parse_args()
    if a.command in ([], ["--"]):
        parser.error("name the module to run after --")
    module, *arguments = a.command[1:] if a.command[0] == "--" else a.command
    if a.nodes > 1 and a.port is None:
        # SLURM ends what srun has started; it is no child of srun's.
        untied = {name: value for name, value in os.environ.items() if name != processes.PARENT}
        _become(srun_command(a.nodes, a.threads, sys.argv[1:]), untied)
    count = 1 if a.plain else a.gpu or a.processes or 1
    folder = lock_folder()
    held = lease(a.gpu, visible_devices(), folder) if a.gpu else {}
    environment = (
        ({} if a.gpu else KEEP_MEMORY)
        | (loopback_environment() if a.nodes == 1 else {})
        | os.environ
        | {
            "CUDA_VISIBLE_DEVICES": ",".join(held),
            "OMP_NUM_THREADS": str(max(1, a.threads // count)),
            "TOKENIZERS_PARALLELISM": "false",
            processes.PARENT: str(os.getpid()),
        }
    )
    if held:
        environment[locks.LEASE] = os.pathsep.join(str(folder / lock_name(device)) for device in held)
    plain = [sys.executable, "-m", module, *arguments]
    _become(plain if a.plain else torchrun_command(module, arguments, count, a.nodes, a.port), environment)


def _become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    print("+", " ".join(command), flush=True)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    run_main(main)
