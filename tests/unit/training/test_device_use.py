"""What a training takes of its GPUs; the driver's library is replaced, since no GPU is needed here."""

import math
from types import SimpleNamespace

import pynvml
import pytest
import torch
from accelerate import Accelerator

from led_pipeline.training import device_use
from led_pipeline.training.device_use import DeviceUse, joules


@pytest.fixture
def driver(monkeypatch):
    """A driver with one device that has used 5 J, and 3 J more at each call."""
    state = SimpleNamespace(millijoules=2_000)

    def energy(handle):
        assert handle == "handle of GPU-1234"
        state.millijoules += 3_000
        return state.millijoules

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: f"handle of {uuid}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy)
    return state


def test_a_device_tells_its_energy_in_millijoules(driver):
    assert (joules("1234"), joules("1234")) == (5.0, 8.0)


def test_a_device_that_does_not_count_has_no_energy(driver, monkeypatch):
    def refused(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refused)
    assert joules("1234") is None


def test_without_a_gpu_there_is_nothing_to_tell():
    assert DeviceUse(Accelerator(cpu=True)).totals(1.0) == {}


@pytest.fixture
def gpus(driver, monkeypatch):
    """Two processes with a GPU each; the other one has spent 10 J and had 700 bytes."""
    other = torch.tensor([[10.0, 700.0]], dtype=torch.float64)
    real = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda values, dtype, device: real(values, dtype=dtype))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    monkeypatch.setattr(device_use, "time", SimpleNamespace(monotonic=lambda: 100.0))
    device = SimpleNamespace(type="cuda")
    return SimpleNamespace(device=device, gather=lambda ours: torch.cat([ours, other]))


def test_the_energy_is_that_of_all_gpus_and_the_memory_that_of_the_fullest(gpus):
    use = DeviceUse(gpus, started=0.0)
    assert use.totals(90.0) == {"gpu_bytes": 700.0, "joules": 13.0}


def test_a_resumed_training_does_not_know_its_energy(gpus):
    use = DeviceUse(gpus, started=0.0)
    assert use.totals(5000.0) == {"gpu_bytes": 700.0, "joules": None}


def test_one_device_that_does_not_tell_makes_the_sum_unknown(gpus):
    gpus.gather = lambda ours: torch.cat([ours, torch.tensor([[math.nan, 1.0]], dtype=torch.float64, device=None)])
    assert DeviceUse(gpus, started=0.0).totals(90.0) == {"gpu_bytes": 500.0, "joules": None}
