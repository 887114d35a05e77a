"""1, 2 and 4 processes with the same global batch compute the same loss and gradients, whatever the objective."""

import os
import subprocess
import sys

import many_ranks
import pytest
import tiny
import torch

pytestmark = pytest.mark.ranks

# Tolerances of the loss, and of a gradient relative to the largest entry of all gradients.
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, list[dict]]:
    """Return the records of each rank, by the number of ranks."""
    folder = tmp_path_factory.mktemp("many_ranks")
    tiny.save_dataset(folder, batch_size=4, epochs=1)
    tiny.save_vectors(folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = {}
    for world in (1, 2, 4):
        (folder / f"{world}").mkdir()
    for world in (2, 4):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        command = [*launch, many_ranks.__file__, str(folder), str(folder / f"{world}")]
        processes[world] = subprocess.Popen(command, **options)
    try:
        many_ranks.run(folder, folder / "1")
        outputs = {world: process.communicate(timeout=240)[0] for world, process in processes.items()}
    finally:
        for process in processes.values():
            process.terminate()  # torchrun takes its ranks along
    assert all(process.returncode == 0 for process in processes.values()), outputs
    return {world: [torch.load(folder / f"{world}/rank{rank}.pt") for rank in range(world)] for world in (1, 2, 4)}


@pytest.mark.parametrize("dtype", many_ranks.DTYPES)
@pytest.mark.parametrize(("family", "objective"), many_ranks.CASES)
@pytest.mark.parametrize("world", [2, 4])
def test_loss_and_gradients_equal_one_process(results, world, family, objective, dtype):
    key, tolerance = (dtype, family, objective), TOLERANCE[dtype]
    (one,), many = [rank[key] for rank in results[1]], [rank[key] for rank in results[world]]
    assert sum(record["terms"]["tokens"] for record in many) == one["terms"]["tokens"]
    largest = max(gradient.abs().max().item() for gradient in one["gradients"].values())
    assert largest > 0.01
    for record in many:
        same = {name: value for name, value in one["terms"].items() if name != "tokens"}
        assert {name: record["terms"][name] for name in same} == pytest.approx(same, rel=tolerance, abs=tolerance)
        assert record["gradients"].keys() == one["gradients"].keys()
        for name, gradient in one["gradients"].items():
            torch.testing.assert_close(
                record["gradients"][name], gradient, rtol=0, atol=tolerance * largest, msg=f"{name} of {key}"
            )


def test_every_objective_contributes_to_its_loss(results):
    for (dtype, family, objective), record in results[1][0].items():
        name = objective if objective in ("contrastive", "dual") else f"{objective}_lex"
        name = many_ranks.TERMS.get(objective, name)
        assert record["terms"][name] > 1e-3, (dtype, family, objective)
        assert ("flops_passages" in record["terms"]) == (family == "lexicon")


@pytest.mark.parametrize("world", [2, 4])
def test_weights_are_equal_across_the_ranks_after_every_step(results, world):
    for key, first in results[world][0].items():
        assert len(set(first["digests"])) == many_ranks.STEPS + 1, "every step changes the weights"
        assert all(rank[key]["digests"] == first["digests"] for rank in results[world]), key
