"""What `test_sharded_ranks` does: trainings under FSDP or DeepSpeed on two gloo ranks, and the same on one without.

Run as `torchrun sharded_ranks.py FOLDER OUT KIND`, FOLDER from `killed.save`, KIND `fsdp` or `deepspeed`. Both work on
processors, but accelerate makes them of trainings on GPUs alone; it is told here that there are some.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import killed
import tiny
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from led_pipeline.recipe.step_settings import RunningSettings, TrainingSettings
from led_pipeline.training import train

FSDP = Path(__file__).parents[1] / "config/accelerate/fsdp.yaml"
STEPS = 4
LED = [tiny.TEACHER | {"stage": "lex", "loss": "rank"}, tiny.TEACHER | {"stage": "lex", "loss": "kl", "weight": 1.5}]
LORA = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None}}
IDF = {"query_encoder": "idf", "idf": "collection", "idf_trained": True, "idf_learning_rate": 0.01}
CASES = {
    "dense": tiny.settings("dense", teachers=LED),
    "untied": tiny.settings("dense", teachers=LED, untied=True, gradient_cache=3, head=6),
    "checkpointed": tiny.settings(
        "dense", pooling="mean", normalize=True, temperature=0.05, gradient_checkpointing=True, gradient_cache=5
    ),
    "accumulated": tiny.settings("dense", teachers=LED, gradient_accumulation=2, epochs=3),
    "lexicon": tiny.settings("lexicon", flops_passages=0.1, flops_queries=0.2),
    "idf": tiny.settings("lexicon", flops_queries=0.0, top_k_passages=20, **IDF),
    "ranker": tiny.settings("ranker", teachers=LED[:1]),
    "new_head": tiny.settings("lexicon", new_head=True),  # starts from a model without such a head
    "bf16": tiny.settings("dense", precision="bf16", teachers=LED),
    "lora": tiny.settings("dense", **LORA),
    "lora_lexicon": tiny.settings("lexicon", gradient_cache=3, **LORA),
}
# Trainings with another file: the changed keys of its fsdp_config, and the case that they train.
FSDP_FILES = {
    "one_shard": ({"fsdp_auto_wrap_policy": "NO_WRAP", "fsdp_state_dict_type": "FULL_STATE_DICT"}, "lexicon"),
    "again": ({"fsdp_activation_checkpointing": True, "fsdp_reshard_after_forward": False}, "dense"),
}
ZERO_STAGES = (1, 2, 3)
ZERO_CASES = {f"zero{stage}.{case}": case for stage in ZERO_STAGES for case in CASES}


class Killed(Exception):
    """Raised where a kill would end the process."""


class Observed:
    """Measurements of a training: gradients of the first step, norms of all steps, share of weights on this rank."""

    def __init__(self, killed_at: int | None = None):
        self.killed_at, self.norms = killed_at, []
        self.gradients: dict[str, torch.Tensor] = {}
        self.plain = Accelerator.clip_grad_norm_, train.batch_rows

    def clip(self, accelerator: Accelerator, parameters, *arguments) -> torch.Tensor:
        if not self.gradients:
            trained = {n: p for n, p in accelerator._models[-1].named_parameters() if p.requires_grad}
            self.gradients = {
                n.replace("_checkpoint_wrapped_module.", ""): whole(p.grad)
                for n, p in trained.items()
                if p.grad is not None
            }
            held = [p.to_local() if hasattr(p, "to_local") else p for p in trained.values()]
            self.share = sum(p.numel() for p in held) / max(1, sum(p.numel() for p in trained.values()))
        norm = self.plain[0](accelerator, parameters, *arguments)
        self.norms.append(whole(norm).item())
        return norm

    def batch_rows(self, step: int, *arguments):
        if step == self.killed_at:
            raise Killed
        return self.plain[1](step, *arguments)

    def __enter__(self) -> "Observed":
        Accelerator.clip_grad_norm_ = lambda *arguments: self.clip(*arguments)
        train.batch_rows = self.batch_rows
        return self

    def __exit__(self, *_) -> None:
        Accelerator.clip_grad_norm_, train.batch_rows = self.plain


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def fit(
    folder: Path, out: Path, settings: TrainingSettings, running: dict[str, Any], killed_at: int | None = None
) -> Observed:
    """Train with `train.train` and a validation every 2 steps."""
    AcceleratorState._reset_state(True)
    changes: dict[str, Any] = {"running": RunningSettings(**running)}
    changes["validation"] = tiny.validation(folder, **killed.VALIDATION, keep="best")
    changes |= {"init": str(folder / "dense")} if settings is CASES["new_head"] else {}
    training = tiny.training(folder, tiny.changed(settings, max_steps=STEPS), out, **changes)
    with Observed(killed_at) as observed, suppress(Killed):
        train.train(training)
    return observed


def fsdp_file(path: Path, **changes: Any) -> str:
    """Write the example file with some keys changed."""
    config = yaml.safe_load(FSDP.read_text())
    config["fsdp_config"] |= changes
    path.write_text(yaml.safe_dump(config))
    return str(path)


def zero_file(path: Path, stage: int) -> str:
    """Write a file that selects DeepSpeed; stage 3 shards all weights, however small."""
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0}
    deepspeed = {"zero_optimization": zero, "train_micro_batch_size_per_gpu": "auto", "bf16": {"enabled": "auto"}}
    path.with_suffix(".json").write_text(json.dumps(deepspeed))
    plugin = {"deepspeed_config_file": str(path.with_suffix(".json")), "zero3_init_flag": stage == 3}
    path.write_text(yaml.safe_dump({"distributed_type": "DEEPSPEED", "deepspeed_config": plugin}))
    return str(path)


def files(out: Path, rank: int, kind: str | None) -> dict[str, tuple[str, str | None]]:
    """Return all trainings of a kind by name: the case and the accelerate file of each."""
    if kind == "deepspeed":
        written = {str(stage): zero_file(out / f"{stage}.{rank}.yaml", stage) for stage in ZERO_STAGES}
        return {name: (case, written[name[4]]) for name, case in ZERO_CASES.items()}
    trainings = {case: (case, str(FSDP) if kind else None) for case in CASES}
    if kind:
        trainings |= {
            n: (case, fsdp_file(out / f"{n}.{rank}.yaml", **options)) for n, (options, case) in FSDP_FILES.items()
        }
    return trainings


def run(folder: Path, out: Path, rank: int = 0, kind: str | None = None) -> None:
    """Train all cases; repeat some sharded ones with interruptions."""
    for name, (case, path) in files(out, rank, kind).items():
        running = {"accelerate": path} if path else {}
        observed = fit(folder, out / name, CASES[case], running)
        torch.save(vars(observed) | {"plain": None}, out / f"{name}.rank{rank}.pt")
        if name in ("dense", "zero3.dense", "zero2.dense") and path:
            for step in (2, 3, None):  # killed after the validation of step 2, killed after step 3, finished
                fit(folder, out / f"{name}.resumed", CASES[case], running | {"checkpoint_steps": 1}, killed_at=step)


def main() -> None:
    folder, out, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
    PartialState.destroy_process_group = lambda *_: None  # all trainings share one
    run(folder, out, int(os.environ["RANK"]), kind)


if __name__ == "__main__":
    main()
