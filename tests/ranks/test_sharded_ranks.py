"""Weights sharded over two processes must learn the same as whole ones on one process.

The DeepSpeed tests are skipped if it is not installed: pip install deepspeed (it compiles a little at its first run).
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import killed
import pytest
import sharded_ranks
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.ranks
FSDP = [*sharded_ranks.CASES, *sharded_ranks.FSDP_FILES]
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
ALL = [*FSDP, *(pytest.param(name, marks=needs_deepspeed) for name in sharded_ranks.ZERO_CASES)]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Return the results of one process."""
    folder = tmp_path_factory.mktemp("sharded")
    killed.save(folder)
    (folder / "one").mkdir()
    sharded_ranks.run(folder, folder / "one")
    return folder / "one"


def two(folder: Path, kind: str) -> Path:
    """Return the results of two processes on the same input; they run on the first call."""
    out = folder / kind
    if not out.exists():
        out.mkdir()
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        variables = {"OMP_NUM_THREADS": "1", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
        environment = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"} | variables
        command = [*launch, sharded_ranks.__file__, str(folder), str(out), kind]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    return out


def folder_of(one: Path, name: str) -> Path:
    return two(one.parent, "deepspeed" if name in sharded_ranks.ZERO_CASES else "fsdp")


def case(name: str) -> str:
    """Return the case of a training."""
    return (sharded_ranks.ZERO_CASES | {n: of for n, (_, of) in sharded_ranks.FSDP_FILES.items()}).get(name, name)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def exactness(name: str) -> float:
    return 3e-2 if case(name) == "bf16" else 1e-4


@pytest.mark.parametrize("name", FSDP)
def test_gradients_equal_one_process(one, name):
    expected = torch.load(one / f"{case(name)}.rank0.pt")["gradients"]
    for rank in (0, 1):
        actual = torch.load(folder_of(one, name) / f"{name}.rank{rank}.pt")
        assert set(actual["gradients"]) == set(expected)
        largest = max(gradient.abs().max().item() for gradient in expected.values())
        assert largest > 0.01
        for key, gradient in expected.items():
            close = {"rtol": exactness(name), "atol": exactness(name) * largest}
            torch.testing.assert_close(actual["gradients"][key], gradient, **close, msg=key)
        assert actual["share"] == pytest.approx(0.5, abs=0.1)  # odd sizes, and biases of one number


@pytest.mark.parametrize("name", ALL)
def test_losses_norms_and_validations_equal_one_process(one, name):
    norms = [torch.load(path)["norms"] for path in (folder_of(one, name) / f"{name}.rank{rank}.pt" for rank in (0, 1))]
    expected = torch.load(one / f"{case(name)}.rank0.pt")["norms"]
    assert norms == [pytest.approx(expected, rel=10 * exactness(name))] * 2
    one_log, two_log = log(one / case(name)), log(folder_of(one, name) / name)
    assert [line["step"] for line in two_log] == [line["step"] for line in one_log] == [1, 2, 2, 3, 4, 4, 4]
    for line, reference in zip(two_log, one_log, strict=True):
        assert line.get("loss", 0) == pytest.approx(reference.get("loss", 0), rel=exactness(name))
        logged, norm = (each.get("health", {}).get("gradient_norm") for each in (line, reference))
        assert (logged is None) == (norm is None) == ("loss" not in line)
        assert norm is None or logged == pytest.approx(norm, rel=10 * exactness(name))
        if case(name) != "bf16":
            assert line.get("validation", {}) == pytest.approx(reference.get("validation", {}), rel=1e-4)
            assert line.get("best_step") == reference.get("best_step")


@pytest.mark.parametrize("name", ALL)
def test_the_exported_model_is_whole_and_equals_one_process(one, name):
    expected, exported = one / case(name), folder_of(one, name) / name
    files = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(exported) for path in exported.rglob("*") if path.is_file())
    for file in (file for file in files if file.suffix == ".safetensors"):
        reference, weights = load_file(expected / file), load_file(exported / file)
        assert {key: (v.shape, v.dtype) for key, v in weights.items()} == {
            k: (v.shape, v.dtype) for k, v in reference.items()
        }
        away = torch.cat([(reference[key] - weights[key]).abs().flatten() for key in reference])
        # If a gradient is zero except for rounding, the rounding decides the direction of Adam's step.
        assert away.max() < 8 * 1e-3  # each may move by a learning rate in every step
        assert case(name) == "bf16" or away.quantile(0.97) < 1e-5


def test_a_training_exports_its_best_step_and_not_its_last(one):
    assert {log(two(one.parent, "fsdp") / name)[-1]["best_step"] for name in FSDP} == {2, 4}


@pytest.mark.parametrize(
    "name", ["dense", *(pytest.param(f"zero{stage}.dense", marks=needs_deepspeed) for stage in (2, 3))]
)
def test_killed_sharded_trainings_end_with_the_same_bits(one, name):
    folder = folder_of(one, name)
    assert killed.outcome(folder / f"{name}.resumed") == killed.outcome(folder / name)


def test_bf16_applies_to_products_and_not_to_weights(one):
    exact, rounded = (torch.load(two(one.parent, "fsdp") / f"{n}.rank0.pt")["gradients"] for n in ("dense", "bf16"))
    key = "encoder.backbone.encoder.layer.0.output.dense.weight"
    away = ((rounded[key] - exact[key]).norm() / exact[key].norm()).item()
    assert 2**-12 < away < 2**-4  # bf16 has 8 bits
    assert {value.dtype for value in load_file(two(one.parent, "fsdp") / "bf16/model.safetensors").values()} == {
        torch.float32
    }
