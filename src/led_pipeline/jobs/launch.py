"""Lease GPUs from the other jobs on this machine and start a module on them with torchrun, one process per GPU.

Run as `python -m led_pipeline.jobs.launch --gpu N --threads T -- MODULE ARGUMENTS`. With `--gpu 0` one process runs on
the CPU (gloo); with `--plain` one process gets all the GPUs, without torchrun. Snakemake counts GPUs but does not
assign them, so devices are leased with file locks. The launcher then becomes the job (exec), which keeps the locks: the
kernel releases them however it dies, and signals and exit codes need no forwarding. The processes that torchrun starts
end with it and hold the same locks, so a device is free only when no process of the job is left. If
CUDA_VISIBLE_DEVICES is set (by SLURM or the user), only those devices are leased. A SLURM job may number its devices
differently, so every SLURM job has its own locks. On one machine all sockets listen on the loopback interface. With
`--nodes` (inside a SLURM job with that many nodes) the launcher becomes an srun that starts it once per node, where it
becomes torchrun, so that all processes form one world.
"""

import argparse
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from led_pipeline.files.errors import InputError
from led_pipeline.jobs import locks, processes
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.gpus import visible_devices

POLL_S = 0.5
PORTS = range(20_000, 30_000)  # below the range that Linux uses for outgoing connections
# On the CPU, every step allocates and frees tensors of tens of megabytes. By default glibc returns each to the kernel,
# page by page; keeping them saves about a tenth of the time of a large batch. The user's own values take precedence.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
# nvidia-smi numbers GPUs by their place on the bus; CUDA's own order differs where they are unlike each other.
BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def lease(count: int, devices: list[str], folder: Path) -> dict[str, int]:
    """Lock `count` of the devices, waiting for other jobs to end; return them with the descriptors of their locks.

    A job locks all its devices or none, and only one job tries at a time, so two jobs can never wait for each other. A
    device is released when its descriptor is closed, at the latest when the process ends (exec does not count), unless
    processes that it started hold the device too (`locks.hold_leased`).

    Raises:
        InputError: there are fewer devices than requested, so waiting would never end; or the folder is not private.
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
    """Lock a device's lock file and return its inheritable descriptor, or None if the device is in use."""
    file = locks.open_lock(name, folder)  # it stays open as long as the device is held
    if not locks.take_for_group(file):
        os.close(file)
        return None
    os.set_inheritable(file, True)
    return file


def lock_name(device: str) -> str:
    return f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"


def lock_folder() -> Path:
    """Return the folder of this user's device locks: one per machine, or one per node of a SLURM job.

    XDG_RUNTIME_DIR would not do: it is deleted when the user logs out, together with the locks of running jobs.
    """
    scope = ["led-gpus", str(os.getuid()), *(os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "NODEID"))]
    return Path(tempfile.gettempdir(), "-".join(filter(None, scope)))


def torchrun_command(module: str, arguments: list[str], count: int, nodes: int = 1, port: int = 0) -> list[str]:
    """Return the command that runs `count` processes of a module under torchrun on this machine, tied to torchrun.

    On one node the processes rendezvous at a free port of the loopback interface. On several, inside the srun of
    `srun_command`, they rendezvous at the first node, where that srun was called. torchrun's log folder, which would
    always be empty, is not created.
    """
    entry = ["led_pipeline.jobs.loopback"]
    if nodes > 1:
        rank, address = os.environ["SLURM_NODEID"], os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        entry = ["torch.distributed.run", f"--nnodes={nodes}", f"--node-rank={rank}"]
        entry += [f"--master-addr={address}", f"--master-port={port}"]
    run = [sys.executable, "-m", *entry, f"--log-dir={os.devnull}", f"--nproc-per-node={count}", "--no-python"]
    return [*run, *processes.tied([sys.executable, "-u", "-m", module, *arguments])]


def loopback_environment() -> dict[str, str]:
    """Return the environment variables that keep gloo's and NCCL's connections on this machine."""
    name = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), name) if name else {}


def srun_command(nodes: int, threads: int, arguments: list[str]) -> list[str]:
    """Return the command that runs this launcher once on every node of the current SLURM job.

    Every option is explicit: the executor removes SLURM's variables, srun's defaults, from the environment.

    Raises:
        InputError: this is not a SLURM job.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        raise InputError(
            f"this job asks for {nodes} nodes, which only SLURM provides; run with --profile profiles/slurm,"
            " or set resources.train.nodes in the config to 1"
        )
    run = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    port = PORTS[int(job) % len(PORTS)]  # two jobs on one node get different ports
    return [*run, "--kill-on-bad-exit=1", sys.executable, "-m", __spec__.name, f"--port={port}", *arguments]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a module on leased GPUs, one process each.")
    parser.add_argument("--gpu", type=int, required=True, help="GPUs and processes; 0 for one process on the CPU")
    parser.add_argument("--processes", type=int, help="processes on the CPU, with --gpu 0 (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the whole job, on each node")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the SLURM job to run on")
    parser.add_argument("--port", type=int, help="set by the launcher itself when it runs on one of several nodes")
    parser.add_argument("--plain", action="store_true", help="one process with all the GPUs, without torchrun")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- MODULE ARGUMENTS")
    a = parser.parse_args()
    if a.command in ([], ["--"]):
        parser.error("name the module to run after --")
    module, *arguments = a.command[1:] if a.command[0] == "--" else a.command
    if a.nodes > 1 and a.port is None:
        # SLURM ends the processes that srun starts; they are not srun's children.
        untied = {name: value for name, value in os.environ.items() if name != processes.PARENT}
        _become(srun_command(a.nodes, a.threads, sys.argv[1:]), untied)
    count = 1 if a.plain else a.gpu or a.processes or 1
    folder = lock_folder()
    held = lease(a.gpu, visible_devices(), folder) if a.gpu else {}
    environment = (
        (BY_BUS if a.gpu else KEEP_MEMORY)
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
