"""An outside judge of checkpoints: ckpt-chaos kills a training of ours, and one of transformers' Trainer, at its files.

Run as `python benchmarks/ckpt_chaos.py judge --program PATH` with the command `ckpt-chaos` of an environment of its own
(`python -m venv DIR && DIR/bin/pip install ckpt-chaos==0.1.8`; it needs nothing but Python). Both trainings take six
steps with a BERT of two layers and 16 hidden units, with dropout, and keep a state every three steps. The judge records
what a training does to its files, kills a fresh one before such an operation (`before`), half-way through a write
(`torn`), or with all that was not yet told to be on the disk undone (`unsynced`), starts the same command again, and
compares the weights at the end. docs/reference/kills.md has the results.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
STEPS, EVERY = 6, 3


def ours(data: Path, out: Path) -> None:
    """Train a dense stage, or go on with it."""
    import killed

    progress = out / "model.checkpoints" / "progress.json"
    print("resumed from step", json.loads(progress.read_text())["step"] if progress.exists() else 0, flush=True)
    killed.run(data, "dense", "last", out / "model")


def trainer(data: Path, out: Path) -> None:
    """Train a masked language model with transformers' Trainer, or go on with it as its documentation says."""
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
    """Let ckpt-chaos judge both, and print its tables."""
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
    parser.add_argument("what", choices=["judge", "ours", "trainer"])
    parser.add_argument("--data", type=Path, default=Path("build/ckpt-chaos/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--program", default="ckpt-chaos")
    parser.add_argument("--points", type=int, default=60, help="kills of each training")
    parser.add_argument("--folder", type=Path, default=Path("build/ckpt-chaos"), help="where the judge works, new")
    a = parser.parse_args()
    a.data.mkdir(parents=True, exist_ok=True)
    if a.what == "judge":
        judge(a.data, a.program, a.points, a.folder)
    else:
        {"ours": ours, "trainer": trainer}[a.what](a.data, a.out)


if __name__ == "__main__":
    main()
