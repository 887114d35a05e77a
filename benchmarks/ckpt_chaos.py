"""Test checkpoints with ckpt-chaos, which kills our training and transformers' Trainer at their file operations.

Run as `python benchmarks/ckpt_chaos.py judge --program PATH` with the command `ckpt-chaos` of its own environment
(`python -m venv DIR && DIR/bin/pip install ckpt-chaos==0.1.8`; it needs only Python). Both trainings take six steps
with a BERT of two layers and 16 hidden units, with dropout, and save a state every three steps. The judge records a
training's file operations, kills a new one before such an operation (`before`), half-way through a write (`torn`), or
with all unsynced writes undone (`unsynced`), runs the same command again, and compares the final weights. The results
are in docs/reference/kills.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
STEPS, EVERY = 6, 3


def ours(data: Path, out: Path) -> None:
    """Train a dense stage, or resume it."""
    import killed

    progress = out / "model.checkpoints" / "progress.json"
    print("resumed from step", json.loads(progress.read_text())["step"] if progress.exists() else 0, flush=True)
    killed.run(data, "dense", "last", out / "model")


def trainer(data: Path, out: Path) -> None:
    """Train a masked language model with transformers' Trainer, or resume it as its documentation says."""
    import tiny
    import torch
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    torch.manual_seed(0)
    model = tiny.backbone("lexicon", hidden_dropout_prob=0.2)
    ids, mask = tiny.batch((12,) * 24)
    rows = [{"input_ids": i, "attention_mask": m, "labels": i} for i, m in zip(ids, mask, strict=True)]
    arguments = TrainingArguments(
        str(out / "checkpoints"), max_steps=STEPS, save_steps=EVERY, per_device_train_batch_size=4, use_cpu=True,
        report_to=[], disable_tqdm=True, seed=0, logging_steps=1_000,
    )  # fmt: skip
    last = get_last_checkpoint(str(out / "checkpoints")) if (out / "checkpoints").is_dir() else None
    print("resumed from step", last.rpartition("-")[2] if last else 0, flush=True)
    learner = Trainer(model, arguments, train_dataset=rows)
    learner.train(resume_from_checkpoint=last)
    learner.save_model(str(out / "model"))


def judge(data: Path, program: str, points: int, folder: Path) -> None:
    """Run ckpt-chaos on both, which prints its tables."""
    import killed

    killed.save(data)
    for name in ("ours", "trainer"):
        command = [program, "run", "--max-points", str(points), "--modes", "before,torn,unsynced", "--jobs", "2"]
        command += ["--step-regex", r"resumed from step (\d+)", "--result-file", "{out}/model/model.safetensors"]
        command += ["--work", str(folder / name), "--", sys.executable, __file__, name, "--data", str(data)]
        print(f"== {name}", flush=True)
        subprocess.run([*command, "--out", "{out}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["judge", "ours", "trainer"])
    parser.add_argument("--data", type=Path, default=Path("build/ckpt-chaos/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--program", default="ckpt-chaos")
    parser.add_argument("--points", type=int, default=60, help="kills of each training")
    parser.add_argument("--folder", type=Path, default=Path("build/ckpt-chaos"), help="a new folder for the judge")
    a = parser.parse_args()
    a.data.mkdir(parents=True, exist_ok=True)
    if a.role == "judge":
        judge(a.data, a.program, a.points, a.folder)
    else:
        {"ours": ours, "trainer": trainer}[a.role](a.data, a.out)


if __name__ == "__main__":
    main()
