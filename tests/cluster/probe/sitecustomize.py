"""Python runs this at startup: every torchrun of a job, and every process that it starts, writes a note.

Processes that compute forget that GPUs were leased for them.

PROBE is the folder of the notes; a note is a JSON file named after its process.
"""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

NAMES = ("CUDA_VISIBLE_DEVICES", "RANK", "WORLD_SIZE", "SLURM_JOB_ID", "SLURMD_NODENAME", "OMP_NUM_THREADS")

command = sys.orig_argv[1:]
modules = [after for before, after in pairwise(command) if before == "-m"]
job = next((m for m in reversed(modules) if m.startswith("led_pipeline.") and m != "led_pipeline.jobs.launch"), None)
if "PROBE" in os.environ and job:
    note = {name: os.environ.get(name) for name in NAMES}
    agent = not {"torch.distributed.run", "led_pipeline.jobs.loopback"}.isdisjoint(modules)
    note |= {"torchrun": agent, "module": job, "pid": os.getpid(), "time": time.time()}
    path = Path(os.environ["PROBE"], f"{os.getpid()}.{time.time_ns()}.json")
    part = path.with_suffix(".part")
    part.write_text(json.dumps(note))
    part.rename(path)
    if not agent:
        # The GPUs of the test's cluster are files: the job computes on the processor instead of refusing to.
        os.environ.pop("LED_LEASE", None)
