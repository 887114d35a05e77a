"""What `test_two_ranks` does under torchrun on two gloo ranks, and by itself on one.

Run as `torchrun two_ranks.py FOLDER OUT`, FOLDER from `tiny.save_dataset`.
"""

import sys
from contextlib import closing, suppress
from pathlib import Path
from unittest.mock import patch

import tiny
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from led_pipeline.files.atomic import write_json
from led_pipeline.inference import encode, score
from led_pipeline.models.saved_model import save
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import masked_lm, objectives, train
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.loop import fit
from led_pipeline.training.modules import trainable
from led_pipeline.training.plan import build_plan
from led_pipeline.training.validation import Reranking

LED = [tiny.TEACHER | {"stage": "lex", "loss": "rank"}, tiny.TEACHER | {"stage": "lex", "loss": "kl", "weight": 1.5}]
CASES = {
    "dense": tiny.settings("dense"),
    "mean": tiny.settings("dense", pooling="mean", normalize=True, temperature=0.05),
    "led": tiny.settings("dense", teachers=LED),
    "masked": tiny.settings("dense", teachers=LED, mask_positives=True, dual_weight=0.5),
    "cached": tiny.settings("dense", teachers=LED, gradient_cache=3),
    "lexicon": tiny.settings("lexicon", flops_passages=0.1, flops_queries=0.2, mask_positives=True),
    "untied": tiny.settings("dense", teachers=LED, untied=True, gradient_cache=3),
    "pruned": tiny.settings("lexicon", top_k_queries=5, prune_ratio_passages=0.2),
    "accumulated": tiny.settings("dense", teachers=LED, mask_positives=True, gradient_accumulation=2),
    "ranker": tiny.settings("ranker", teachers=LED[:1]),
    "bce": tiny.settings("ranker", ranking_loss="bce"),
    "exchange_bf16": tiny.settings("dense", teachers=LED, gradient_exchange="bf16"),
}
MASKED = {"bow": {}, "plain": {"bow_weight": 0, "gradient_cache": 3}}
ROUNDED = ("exchange_bf16",)  # gradients are rounded between the processes
STEPS = 4


class Killed(Exception):
    """Raised where a kill would end the process."""


class Training:
    """The training of one case, and the losses of its steps."""

    def __init__(self, folder: Path, name: str, killed_at: int | None = None):
        kwargs = [DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
        self.accelerator = Accelerator(cpu=True, kwargs_handlers=kwargs)
        self.accelerator.clip_grad_norm_ = self.keep_gradients
        self.settings, self.killed_at = CASES[name], killed_at
        self.encoder = tiny.start(folder / self.settings.family, self.settings)
        stores = folder / "queries.arrow", [folder / "passages.arrow"]
        self.data = objectives.TrainingData.read(folder / "trainset.arrow", *stores, self.settings)
        self.terms: list[dict[str, float]] = []
        self.gradients: dict[str, torch.Tensor] = {}

    def keep_gradients(self, *_) -> None:
        if not self.gradients:
            parameters = self.encoder.named_parameters()
            self.gradients = {n: p.grad.clone() for n, p in parameters if p.grad is not None}

    def step_loss(self, model, step: int):
        if step == self.killed_at:
            raise Killed
        size, world, rank = self.settings.batch_size, self.accelerator.num_processes, self.accelerator.process_index
        rows = train.batch_rows(step, self.data.trainset.examples, size)
        share = slice(rank * size // world, (rank + 1) * size // world)
        objective = objectives.ranker_loss if self.settings.family == "ranker" else objectives.retriever_loss
        loss = objective(model, self.data, rows, share, self.settings, self.accelerator.device)
        self.terms.append({"loss": loss.total.item(), **{key: term.item() for key, term in loss.terms.items()}})
        return loss

    def run(self, checkpoints: Path, checkpoint_min: float = 30.0) -> None:
        settings = tiny.changed(self.settings, max_steps=STEPS)
        running = RunningSettings(checkpoint_min=checkpoint_min or 1e-9)
        plan = build_plan(settings, running, self.data.trainset.examples, None)
        module = trainable(self.encoder, self.settings)
        with closing(Checkpoints(checkpoints, "me", self.accelerator)) as states:
            fit(self.accelerator, module, self.step_loss, plan, states)

    def save(self, path: Path) -> None:
        weights = {n: p.detach() for n, p in self.encoder.named_parameters()}
        outcome = {"terms": self.terms, "gradients": self.gradients, "weights": weights}
        torch.save(outcome, path.with_name(f"{path.name}.rank{self.accelerator.process_index}.pt"))


def train_cases(folder: Path, out: Path) -> None:
    """Train every case for STEPS steps; train the first again with an interruption."""
    for name in CASES:
        training = Training(folder, name)
        training.run(out / f"{name}.checkpoints")
        training.save(out / name)
    with suppress(Killed):
        Training(folder, "dense", killed_at=STEPS - 1).run(out / "resumed.checkpoints", checkpoint_min=0)
    resumed = Training(folder, "dense")
    resumed.run(out / "resumed.checkpoints", checkpoint_min=0)
    resumed.save(out / "resumed")


def command(main, *arguments: object) -> None:
    """Run a command of led_pipeline in this process."""
    sys.argv = [main.__module__, *map(str, arguments)]
    main()


def encode_and_score(folder: Path, out: Path, accelerator: Accelerator) -> None:
    """Encode passages and score the trainset's pairs with a model of each family."""
    for family in tiny.FAMILIES:
        model = out / f"model.{family}"
        if accelerator.is_main_process:
            model.mkdir()
            settings = tiny.settings(family)
            save(tiny.start(folder / family, settings), settings, folder / "tokenizer", model)
    accelerator.wait_for_everyone()
    texts = ["--tokens", folder / "passages.arrow", "--side", "passage"]
    command(encode.main, "--model", out / "model.dense", *texts, "--out", out / "passages.npy")
    command(encode.main, "--model", out / "model.lexicon", *texts, "--out", out / "passages.arrow")
    query = ["--tokens", folder / "one.arrow", "--side", "query"]
    command(encode.main, "--model", out / "model.dense", *query, "--out", out / "one.npy")
    command(encode.main, "--model", out / "model.lexicon", *query, "--out", out / "one.arrow")
    stores = ["--model", out / "model.ranker", "--queries", folder / "queries.arrow"]
    stores += ["--passages", folder / "passages.arrow"]
    for shard in range(2):
        part = ["--shard", shard, "--shards", 2, "--out", out / f"scores.{shard}.npy"]
        command(score.main, *stores, "--pairs", folder / "trainset.arrow", *part)
    rerank = ["--rerank", "--depth", 5, "--out", out / "reranked.parquet"]
    command(score.main, *stores, "--pairs", folder / "ranking.parquet", *rerank)


def train_and_validate(folder: Path, out: Path) -> None:
    """Train a stage with `train.train`; save a measure of one query, so that one of two ranks has none."""
    settings = tiny.changed(CASES["led"], max_steps=STEPS)
    one = tiny.validation(folder, queries=1, depth=8)
    reranking = Reranking.read(one, [folder / "passages.arrow"], settings, Accelerator(cpu=True))
    write_json(out / "one_query.json", reranking.means(tiny.start(folder / "dense", settings)))
    validation = tiny.validation(folder, queries=7, depth=6, every=2, keep="best", also=["nDCG@10", "MAP"])
    train.train(tiny.training(folder, settings, out / "trained", validation=validation))
    rank = Accelerator(cpu=True).process_index
    write_json(out / f"seed.rank{rank}.json", torch.initial_seed())


def train_masked(folder: Path, out: Path) -> None:
    """Train masked language models with `masked_lm.train`, one of them in parts."""
    with patch.object(Accelerator, "end_training"):  # it would end the processes' group
        for name, changes in MASKED.items():
            settings = tiny.masked_settings(batch_size=8, stop_share=1, **changes)
            masked_lm.train(tiny.masked_training(folder, settings, out / name))


def main() -> None:
    folder, out = map(Path, sys.argv[1:])
    out.mkdir(exist_ok=True)
    train_cases(folder, out)
    train_masked(folder, out)
    encode_and_score(folder, out, Accelerator(cpu=True))
    train_and_validate(folder, out)


if __name__ == "__main__":
    main()
