"""Train: one stage under torchrun, from its trainset to a checkpoint folder.

Run as `torchrun -m led_pipeline.training.train --init MODEL --tokenizer TOKENIZER --queries TOKENS --passages TOKENS...
--trainset FILE --settings JSON --running JSON --checkpoints DIR --out DIR`; with validation also `--validation JSON
[--validation-ranking FILE] --validation-queries TOKENS --validation-qrels FILE --validation-ids QUERIES PASSAGES`; with
`--teacher-vectors STAGE QUERIES PASSAGES...` for each teacher that scores all passages of a batch.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import is_tensorboard_available, is_wandb_available, set_seed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from led_pipeline import user_code
from led_pipeline.data.order import batch_rows, total_steps
from led_pipeline.data.prefixes import with_prefixes
from led_pipeline.data.tokens import shared_tokens
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.digests import digest, fingerprint
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.models import limits, sides
from led_pipeline.models.backbone import Texts
from led_pipeline.models.checkpoint import load, origins, save
from led_pipeline.recipe import accelerate_file
from led_pipeline.recipe.settings import Schedule
from led_pipeline.training import sharding
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.loop import Plan, fit
from led_pipeline.training.objectives import TrainingData, ranker_loss, retriever_loss
from led_pipeline.training.teachers import StoredVectors
from led_pipeline.training.validation import Reranking
from led_pipeline.versions import VERSIONS, installed


class Retriever(nn.Module):
    """Queries and passages in one forward pass, as gradient synchronisation needs it."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, texts: Texts, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the vectors of all texts, split into so many of the queries and of each pass over the passages."""
        return sides.both(self.encoder, texts, counts)


class InChunks(nn.Module):
    """An encoder that computes `chunk` texts at a time, and computes them anew when their gradient is due.

    What stays in memory is the output of all texts and the activations of one chunk, whatever the batch; a step takes
    a second forward pass. The gradient is that of the whole batch.

    Source: gradient cache (arXiv:2101.06983), here by recomputation inside of one backward pass.
    """

    def __init__(self, encoder: nn.Module, chunk: int):
        super().__init__()
        self.encoder, self.chunk = encoder, chunk

    def forward(self, texts: Texts) -> Tensor:
        if not torch.is_grad_enabled():
            return self.encoder(texts)
        parts = texts.parts(self.chunk)
        return texts.restore(torch.cat([checkpoint(self.encoder, part, use_reentrant=False) for part in parts]))


def trainable(encoder: nn.Module, settings: dict[str, Any]) -> nn.Module:
    """Return the module that is trained in place of an encoder or a ranker."""
    if settings.get("gradient_checkpointing"):
        for part in sides.encoders(encoder):
            part.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.get("gradient_cache"):
        encoder = sides.each(encoder, lambda part: InChunks(part, settings["gradient_cache"]))
    return encoder if settings["family"] == "ranker" else Retriever(encoder)


def build_plan(settings: dict[str, Any], running: dict[str, Any], examples: int, validation: dict | None) -> Plan:
    """Return the plan of a training from its settings and from what no result depends on."""
    steps = total_steps(examples, Schedule.model_validate({key: settings[key] for key in Schedule.model_fields}))
    own_rates = {"query.weights_V": rate} if (rate := settings.get("idf_learning_rate")) else {}
    keys = ("learning_rate", "weight_decay", "warmup_fraction", "clip_norm", "batch_size")
    looks = {"validate_every": validation["every"], "measure": validation["measure"]} if validation else {}
    settings = settings | {"batch_size": min(settings["batch_size"], examples)}
    return Plan(
        steps=steps,
        log_every=max(1, min(100, steps // 50)),
        keep=validation["keep"] if validation else "last",
        own_rates=own_rates,
        **looks,
        **{key: settings[key] for key in keys},
        **{key: running[key] for key in ("checkpoint_min", "checkpoint_steps") if key in running},
    )


def batch_size(asked: int, examples: int, processes: int) -> int:
    """Return the queries of a batch: those of the recipe, or all of an epoch if it has fewer.

    Raises:
        InputError: they cannot be split evenly over the processes.
    """
    size = min(asked, examples)
    if size % processes:
        few = f", all {examples} examples of an epoch," if size < asked else ""
        raise InputError(
            f"batch_size: {size} queries{few} cannot be split evenly over {processes} processes (resources.train: nodes"
            f" x gpu); take {max(1, size - size % processes)} queries, or fewer processes"
        )
    return size


def fingerprint_of(a: argparse.Namespace, processes: int) -> str:
    """Return what changes with anything that decides the weights; a checkpoint belongs to it."""
    inits = [Path(name) for name in (a.init, a.query_init) if name]
    files = [a.trainset, a.queries, *a.passages, *(f for i in inits for f in sorted(i.rglob("*")) if f.is_file())]
    if a.validation:
        files += filter(None, [a.validation_ranking, a.validation_queries, a.validation_qrels])
    files += [path for _, *paths in a.teacher_vectors for path in paths] + user_code.files(a.settings)
    what = [VERSIONS["train"], a.settings, a.validation, a.init, [digest(f) for f in files], processes]
    return fingerprint(what + accelerate_file.kind(a.running.get("accelerate")))


def start_trackers(accelerator: Accelerator, a: argparse.Namespace) -> None:
    """Start what the recipe names under `tracking`; its files lie with the checkpoints."""
    if a.running.get("tracking"):
        scalars = {key: value for key, value in a.settings.items() if isinstance(value, (int, float, str))}
        accelerator.init_trackers(a.checkpoints.name, scalars, {"wandb": {"dir": str(a.checkpoints)}})


def new_accelerator(a: argparse.Namespace) -> Accelerator:
    """Return what moves the model to its device, autocasts, and averages gradients over the processes.

    Raises:
        InputError: a tracker that the recipe names is not installed.
    """
    available = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
    for name in a.running.get("tracking", []):
        if not available[name]():
            raise InputError(f"tracking: {name} is not installed; pip install {name}, or take it out of the recipe")
    precision = {"float32": "no"}.get(a.settings["precision"], a.settings["precision"])
    # The encoder runs twice in one step; its buffers (positions) never change and need no broadcast.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
    options = {"log_with": a.running.get("tracking") or None, "project_dir": a.checkpoints, "kwargs_handlers": [kwargs]}
    return sharding.accelerator_of(a.running.get("accelerate"), a.settings, mixed_precision=precision, **options)


def look_at_start(encoder: nn.Module, data: TrainingData, a: argparse.Namespace, accelerator: Accelerator) -> None:
    """Check that texts fit the model that is trained, and say what of it is not what the recipe names.

    Raises:
        InputError: it has too few embeddings or positions.
    """
    limits.check_vocabulary(encoder, data.queries.vocabulary, a.tokenizer)
    limits.check_lengths(encoder, a.settings, shared_tokens(data.queries))
    for text in origins(encoder) if accelerator.is_main_process else ():
        print(text, flush=True)


def train(a: argparse.Namespace) -> None:
    settings = a.settings
    accelerator = new_accelerator(a)
    world, rank = accelerator.num_processes, accelerator.process_index
    set_seed((settings["seed"] + rank) % 2**32)
    vectors = {name: StoredVectors.read(*map(Path, files)) for name, *files in a.teacher_vectors}
    data = TrainingData.read(a.trainset, a.queries, a.passages, settings, vectors)
    data = with_prefixes(data, a.tokenizer, settings)
    size = batch_size(settings["batch_size"], data.examples, world)

    def start() -> tuple[nn.Module, nn.Module]:
        encoder, _ = load(a.init, settings | {"query_init": a.query_init}, a.tokenizer, a.passages, trained=True)
        return encoder, trainable(encoder, settings)

    encoder, model = start()
    look_at_start(encoder, data, a, accelerator)
    sharding.make_ready(accelerator, model, settings["precision"])
    objective = ranker_loss if settings["family"] == "ranker" else retriever_loss
    own = slice(rank * size // world, (rank + 1) * size // world)

    def step_loss(model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return objective(model, data, batch_rows(step, data.examples, size), own, settings, accelerator.device, step)

    reranking = with_prefixes(Reranking.read(a, accelerator), a.tokenizer, settings) if a.validation else None

    def whole() -> nn.Module:
        return sharding.whole(accelerator, encoder, model, start)

    validate = (lambda _: reranking.mean(whole(), settings)) if reranking else None
    owner = fingerprint_of(a, world) if accelerator.is_main_process else ""
    with closing(Checkpoints(a.checkpoints, owner, accelerator)) as checkpoints:
        start_trackers(accelerator, a)
        plan = build_plan(settings, a.running, data.examples, a.validation)
        fit(accelerator, model, step_loss, plan, checkpoints, validate)
        trained = whole()
        if accelerator.is_main_process:
            with atomic(a.out) as folder:
                folder.mkdir()
                save(trained, settings, a.tokenizer, folder)
                (folder / "train.jsonl").write_bytes((a.checkpoints / "train.jsonl").read_bytes())
                (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
                write_json(folder / "software.json", installed())
    accelerator.wait_for_everyone()
    accelerator.end_training()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one stage.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--query-init", help="what an untied query encoder starts from, unless it is --init")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--queries", required=True, type=Path)
    parser.add_argument("--passages", required=True, nargs="+", type=Path)
    parser.add_argument("--trainset", required=True, type=Path)
    parser.add_argument("--settings", required=True, type=json.loads)
    parser.add_argument("--running", type=json.loads, default={}, help="what no result depends on")
    parser.add_argument("--validation", type=json.loads)
    parser.add_argument("--validation-ranking", type=Path, help="the candidates; without it the judged passages")
    parser.add_argument("--validation-queries", type=Path, help="token ids of the validation queries")
    parser.add_argument("--validation-qrels", type=Path)
    parser.add_argument("--validation-ids", nargs=2, type=Path, metavar=("QUERIES", "PASSAGES"))
    parser.add_argument("--teacher-vectors", nargs="+", action="append", default=[], metavar=("TEACHER", "FILE"))
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    train(parser.parse_args())


if __name__ == "__main__":
    run_main(main)
