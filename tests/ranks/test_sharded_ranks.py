"""Weights that lie in shards on two processes must learn what whole ones on one process do.

Those of DeepSpeed are skipped where it is not installed: pip install deepspeed (it compiles a little at its first run).
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
    """Return the folder with what one process made."""
    folder = tmp_path_factory.mktemp("sharded")
    killed.save(folder)
    (folder / "one").mkdir()
    sharded_ranks.run(folder, folder / "one")
    return folder / "one"


def two(folder: Path, kind: str) -> Path:
    """Return the folder with what two processes make of the same input, unless they have made it."""
    out = folder / kind
    if not out.exists():
        out.mkdir()
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        said = {"OMP_NUM_THREADS": "1", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
        environment = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"} | said
        command = [*launch, sharded_ranks.__file__, str(folder), str(out), kind]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    return out


def folder_of(one: Path, name: str) -> Path:
    return two(one.parent, "deepspeed" if name in sharded_ranks.ZERO_CASES else "fsdp")


def case(name: str) -> str:
    """Return what a training trains."""
    return (sharded_ranks.ZERO_CASES | {n: of for n, (_, of) in sharded_ranks.FSDP_FILES.items()}).get(name, name)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def exactness(name: str) -> float:
    return 3e-2 if case(name) == "bf16" else 1e-4


@pytest.mark.parametrize("name", FSDP)
def test_gradients_are_those_of_one_process(one, name):
    expected = torch.load(one / f"{case(name)}.rank0.pt")["gradients"]
    for rank in (0, 1):
        found = torch.load(folder_of(one, name) / f"{name}.rank{rank}.pt")
        assert set(found["gradients"]) == set(expected)
        largest = max(gradient.abs().max().item() for gradient in expected.values())
        assert largest > 0.01
        for key, gradient in expected.items():
            close = {"rtol": exactness(name), "atol": exactness(name) * largest}
            torch.testing.assert_close(found["gradients"][key], gradient, **close, msg=key)
        assert found["share"] == pytest.approx(0.5, abs=0.1)  # odd sizes, and biases of one number


@pytest.mark.parametrize("name", ALL)
def test_losses_norms_and_validations_are_those_of_one_process(one, name):
    norms = [torch.load(path)["norms"] for path in (folder_of(one, name) / f"{name}.rank{rank}.pt" for rank in (0, 1))]
    expected = torch.load(one / f"{case(name)}.rank0.pt")["norms"]
    assert norms == [pytest.approx(expected, rel=10 * exactness(name))] * 2
    one_log, two_log = log(one / case(name)), log(folder_of(one, name) / name)
    assert [line["step"] for line in two_log] == [line["step"] for line in one_log] == [1, 2, 2, 3, 4, 4, 4]
    for mine, theirs in zip(two_log, one_log, strict=True):
        assert mine.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=exactness(name))
        if case(name) != "bf16":
            assert mine.get("validation", {}) == pytest.approx(theirs.get("validation", {}), rel=1e-4)
            assert mine.get("best_step") == theirs.get("best_step")


@pytest.mark.parametrize("name", ALL)
def test_the_exported_model_is_whole_and_that_of_one_process(one, name):
    expected, found = one / case(name), folder_of(one, name) / name
    files = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(found) for path in found.rglob("*") if path.is_file())
    for file in (file for file in files if file.suffix == ".safetensors"):
        theirs, mine = load_file(expected / file), load_file(found / file)
        assert {key: (v.shape, v.dtype) for key, v in mine.items()} == {
            k: (v.shape, v.dtype) for k, v in theirs.items()
        }
        away = torch.cat([(theirs[key] - mine[key]).abs().flatten() for key in theirs])
        # Where a gradient is zero but for rounding, Adam steps into a direction that the rounding decides.
        assert away.max() < 8 * 1e-3  # both may go a learning rate away in each step
        assert case(name) == "bf16" or away.quantile(0.97) < 1e-5


def test_a_training_is_kept_at_its_best_step_and_not_at_its_last_one(one):
    assert {log(two(one.parent, "fsdp") / name)[-1]["best_step"] for name in FSDP} == {2, 4}


@pytest.mark.parametrize(
    "name", ["dense", *(pytest.param(f"zero{stage}.dense", marks=needs_deepspeed) for stage in (2, 3))]
)
def test_sharded_trainings_that_were_killed_end_with_the_bits_of_one_that_was_not(one, name):
    folder = folder_of(one, name)
    assert killed.outcome(folder / f"{name}.resumed") == killed.outcome(folder / name)


def test_products_are_made_in_bf16_and_weights_are_not(one):
    exact, rounded = (torch.load(two(one.parent, "fsdp") / f"{n}.rank0.pt")["gradients"] for n in ("dense", "bf16"))
    key = "encoder.backbone.encoder.layer.0.output.dense.weight"
    away = ((rounded[key] - exact[key]).norm() / exact[key].norm()).item()
    assert 2**-12 < away < 2**-4  # bf16 has 8 bits
    assert {value.dtype for value in load_file(two(one.parent, "fsdp") / "bf16/model.safetensors").values()} == {
        torch.float32
    }
