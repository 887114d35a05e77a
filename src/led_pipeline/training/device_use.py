"""What a training takes of its GPUs: the largest memory and the energy, as the devices and their driver count them."""

import math
import time
from dataclasses import dataclass, field

import pynvml
import torch
from accelerate import Accelerator


def joules(uuid: str) -> float | None:
    """Return the energy that a GPU has used since its driver was loaded; None if the device does not count it.

    Args:
        uuid: of the device, without the prefix GPU-.
    """
    try:
        pynvml.nvmlInit()
        millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except pynvml.NVMLError:  # an old device, a part of one (MIG), or no permission: there is no number to report
        return None
    return float(millijoules / 1000)


@dataclass
class DeviceUse:
    """Counts from its creation on; nothing without a GPU."""

    accelerator: Accelerator
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.before = self._joules()
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.accelerator.device)

    def _joules(self) -> float | None:
        device = self.accelerator.device
        return joules(str(torch.cuda.get_device_properties(device).uuid)) if device.type == "cuda" else None

    def totals(self, seconds: float) -> dict[str, float | None]:
        """Return the memory of the GPU that had most and the energy of all; every process must call it.

        Args:
            seconds: of the training. If they are more than since the start, an earlier process trained a part, and the
                energy is not known.
        """
        if self.accelerator.device.type != "cuda":
            return {}
        after = self._joules()
        whole = seconds <= time.monotonic() - self.started
        spent = after - self.before if whole and after is not None and self.before is not None else math.nan
        memory = torch.cuda.max_memory_reserved(self.accelerator.device)
        ours = torch.tensor([[spent, memory]], dtype=torch.float64, device=self.accelerator.device)
        every = self.accelerator.gather(ours)
        energy = every[:, 0].sum().item()
        return {"gpu_bytes": every[:, 1].max().item(), "joules": None if math.isnan(energy) else energy}
