"""What `test_many_ranks` does on 1, 2 and 4 gloo ranks: a few steps of every family with every objective.

Run as `torchrun many_ranks.py FOLDER OUT`, FOLDER from `tiny.save_dataset`.
"""

import os
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import tiny
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from led_pipeline.models.backbone import PackedBatch
from led_pipeline.recipe.step_settings import RunningSettings, TrainingSettings
from led_pipeline.training import objectives, train
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.loop import fit
from led_pipeline.training.losses import DISTILLATION
from led_pipeline.training.modules import Retriever
from led_pipeline.training.plan import build_plan
from led_pipeline.training.teachers import StoredVectors

STEPS = 2
OBJECTIVES = ["contrastive", *DISTILLATION, "dual"]
CASES = [(f, o) for f in tiny.FAMILIES for o in OBJECTIVES if o != "dual" or f == "dense"]
CASES += [("dense", "in_batch_teachers"), ("lexicon", "regularisers"), ("dense", "own_loss"), ("dense", "matryoshka")]
# The settings of the last four cases, and the term that each must add to the loss.
TEACHERS = {"stage": None, "stages": ["den", "lex"], "weights": [1.0, 3.0], "scale": 10.0, "candidates": "batch"}
REGULARISERS = {"l1_passages": 0.1, "l1_queries": 0.2, "anti_zero": 5e3, "regulariser_warmup": 3}
OPTIONS = {
    "in_batch_teachers": {
        "contrastive_candidates": "batch_negatives", "teachers": [tiny.TEACHER | TEACHERS | {"loss": "kl"}],
    },
    "regularisers": REGULARISERS | {"flops_threshold": 5, "flops_grouped": True, "activation": "log1p_twice"},
    "own_loss": {"contrastive_candidates": "own", "extra_loss": f"{__file__}:decorrelation", "extra_loss_weight": 0.5},
    "matryoshka": {
        "matryoshka": [4, 8], "normalize": True, "temperature": 0.1,
        "teachers": [tiny.TEACHER | TEACHERS | {"loss": "kl"}],
    },
}  # fmt: skip
TERMS = {"in_batch_teachers": "kl_den_lex_batch", "regularisers": "l1_queries", "own_loss": "decorrelation"}
TERMS |= {"matryoshka": "kl_den_lex_batch_8"}


def decorrelation(batch: objectives.GlobalBatch) -> torch.Tensor:
    """An extra loss as a user may write it: the squared covariances of the passages' dimensions."""
    return torch.cov(batch.passages_ND.T).square().mean()


DTYPES = {"float64": torch.float64, "float32": torch.float32}


def settings(family: str, objective: str) -> TrainingSettings:
    changes: dict[str, Any] = {"max_steps": STEPS, "batch_size": 4}
    if objective in DISTILLATION:
        options = {"margin": 0.1, "min_confidence": 0.2, "temperature": 3.0, "with_positive": objective == "margin_mse"}
        changes["teachers"] = [tiny.TEACHER | options | {"stage": "lex", "loss": objective, "weight": 1.5}]
    if objective == "dual":
        changes["dual_weight"] = 2.0
    if family == "lexicon":
        changes |= {"flops_passages": 0.1, "flops_queries": 0.2}
    return tiny.settings(family, **changes | OPTIONS.get(objective, {}))


class SecondPass(nn.Module):
    """An encoder that stretches the vectors of the second pass over the passages: 4 of each query's 1 + 4 + 4 texts.

    It replaces dropout, whose draws depend on the number of processes.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, texts: PackedBatch) -> torch.Tensor:
        vectors = self.encoder(texts)
        first = len(vectors) * 5 // 9
        stretch = torch.linspace(0.5, 1.5, vectors.shape[1], dtype=vectors.dtype)
        return torch.cat([vectors[:first], vectors[first:] * stretch])


def run_case(folder: Path, out: Path, family: str, objective: str, dtype: torch.dtype) -> dict[str, Any]:
    """Train a few steps; return the first step's numbers and gradients, and digests of the weights."""
    accelerator = Accelerator(
        cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
    )
    world, rank = accelerator.num_processes, accelerator.process_index
    chosen = settings(family, objective)
    encoder = tiny.start(folder / family, chosen).to(dtype)
    stores = folder / "queries.arrow", [folder / "passages.arrow"]
    vectors = {name: StoredVectors.read(*files) for name, files in tiny.vector_files(folder).items()}
    data = objectives.TrainingData.read(folder / "trainset.arrow", *stores, chosen, vectors)
    record: dict[str, Any] = {"digests": []}

    def keep_gradients(*_) -> None:
        parameters = encoder.named_parameters()
        record.setdefault("gradients", {n: p.grad.clone() for n, p in parameters if p.grad is not None})

    def digest() -> None:
        record["digests"].append(
            sha256(b"".join(p.detach().numpy().tobytes() for p in encoder.parameters())).hexdigest()
        )

    def step_loss(model: nn.Module, step: int):
        digest()
        share = slice(rank * 4 // world, (rank + 1) * 4 // world)
        compute = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
        rows = train.batch_rows(step, data.trainset.examples, 4)
        loss = compute(model, data, rows, share, chosen, accelerator.device, step)
        numbers = {"loss": loss.total} | loss.terms | loss.signs
        record.setdefault("terms", {name: number.item() for name, number in numbers.items()} | {"tokens": loss.tokens})
        return loss

    accelerator.clip_grad_norm_ = keep_gradients
    module = encoder if family == "ranker" else Retriever(SecondPass(encoder) if objective == "dual" else encoder)
    plan = build_plan(chosen, RunningSettings(), data.trainset.examples, None)
    with closing(Checkpoints(out / f"{family}.{objective}.{dtype}", "me", accelerator)) as checkpoints:
        fit(accelerator, module, step_loss, plan, checkpoints)
    digest()
    return record


def run(folder: Path, out: Path, rank: int = 0) -> None:
    """Run all cases as one rank and save their records."""
    records = {}
    for name, dtype in DTYPES.items():
        plain = torch.Tensor.float
        if dtype == torch.float64:
            # Code that computes in float32 at least is then exact enough to compare.
            torch.Tensor.float = torch.Tensor.double
        try:
            for family, objective in CASES:
                records[name, family, objective] = run_case(folder, out, family, objective, dtype)
        finally:
            torch.Tensor.float = plain
    torch.save(records, out / f"rank{rank}.pt")


def main() -> None:
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"]))


if __name__ == "__main__":
    main()
