"""Records: what a finished training leaves beside its weights: log, settings, versions and machine."""

import json
import platform
from pathlib import Path

import torch
from accelerate import Accelerator

from led_pipeline.files.atomic import write_json
from led_pipeline.models.card import MACHINE
from led_pipeline.training.inputs import Optimised
from led_pipeline.versions import commit, installed


def machine(accelerator: Accelerator) -> dict[str, object]:
    """Return what a stage was trained on."""
    gpu = accelerator.device.type == "cuda"
    device = torch.cuda.get_device_name(accelerator.device) if gpu else platform.machine()
    return {"device": device, "gpu": gpu, "processes": accelerator.num_processes, "commit": commit()}


def write_records(folder: Path, training: Optimised, record: dict[str, object]) -> None:
    """Write the log, settings and versions of a finished training, and the machine (`record`), into a folder."""
    (folder / "train.jsonl").write_bytes((training.checkpoints / "train.jsonl").read_bytes())
    settings = training.settings.model_dump(mode="json")
    (folder / "settings.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_json(folder / "software.json", installed())
    write_json(folder / MACHINE, record)
