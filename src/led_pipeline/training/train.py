"""Train: one stage under torchrun, from its trainset to a checkpoint folder.

Run as `torchrun -m led_pipeline.training.train --init MODEL --tokenizer TOKENIZER --queries TOKENS --passages TOKENS...
--trainset FILE --settings JSON --running JSON --checkpoints DIR --out DIR`; with validation also `--validation JSON
[--validation-ranking FILE] --validation-queries TOKENS --validation-qrels FILE --validation-ids QUERIES PASSAGES`; with
`--teacher-vectors STAGE QUERIES PASSAGES...` for each teacher that scores all passages of a batch.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import is_tensorboard_available, is_wandb_available, set_seed
from torch import nn

from led_pipeline.data.order import batch_rows, total_steps
from led_pipeline.data.prefixes import with_prefixes
from led_pipeline.data.tokens import shared_tokens
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.models import devices, limits
from led_pipeline.models.card import write_card
from led_pipeline.models.saved_model import origins, save, start
from led_pipeline.models.starting import parse_adoption, with_adopted
from led_pipeline.recipe.step_settings import (
    TRAINING,
    RankerTraining,
    RunningSettings,
    TrainingSettings,
    ValidationSettings,
    parser_of,
    parser_of_family,
)
from led_pipeline.training import ramps, sharding
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.device_use import DeviceUse
from led_pipeline.training.inputs import Optimised, Training
from led_pipeline.training.loop import fit
from led_pipeline.training.modules import trainable
from led_pipeline.training.objectives import ranker_loss, retriever_loss
from led_pipeline.training.plan import build_plan
from led_pipeline.training.records import machine, write_records
from led_pipeline.training.step_loss import StepLoss
from led_pipeline.training.teachers import StoredVectors
from led_pipeline.training.training_data import TrainingData
from led_pipeline.training.validation import Reranking, ValidationFiles


def batch_size(largest: int, examples: int, processes: int, texts: str = "queries") -> int:
    """Return the queries (`texts`) of a batch: those of the recipe, or all of an epoch if it has fewer.

    Raises:
        InputError: they cannot be split evenly over the processes.
    """
    size = min(largest, examples)
    if size % processes:
        few = f", all {examples} examples of an epoch," if size < largest else ""
        raise InputError(
            f"batch_size: {size} {texts}{few} cannot be split evenly over {processes} processes (resources.train: nodes"
            f" x gpu); take {max(1, size - size % processes)} {texts}, or fewer processes"
        )
    return size


def start_trackers(accelerator: Accelerator, training: Optimised) -> None:
    """Start the trackers that the recipe names under `tracking`; their files are beside the checkpoints."""
    if training.running.tracking:
        values = training.settings.model_dump(mode="json").items()
        scalars = {key: value for key, value in values if isinstance(value, (int, float, str))}
        folder = training.checkpoints
        accelerator.init_trackers(folder.name, scalars, {"wandb": {"dir": str(folder)}})


def new_accelerator(training: Optimised) -> Accelerator:
    """Return the Accelerator, which places the model, autocasts, and averages gradients over the processes.

    Raises:
        InputError: a tracker that the recipe names is not installed.
    """
    available = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
    for name in training.running.tracking:
        if not available[name]():
            raise InputError(f"tracking: {name} is not installed; pip install {name}, or take it out of the recipe")
    precision = training.settings.precision
    # The encoder runs twice in one step; its buffers (positions) never change and need no broadcast.
    # Gradients are views of the buffers that the processes exchange: no copies, and 4 bytes per weight less.
    kwargs = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    devices.check_leased()
    accelerator = sharding.accelerator_of(
        training.running.accelerate,
        training.settings.clip_norm,
        cpu=devices.on_processor() and training.running.accelerate is None,
        mixed_precision="no" if precision == "float32" else precision,
        log_with=training.running.tracking or None,
        project_dir=training.checkpoints,
        kwargs_handlers=[kwargs],
    )
    devices.check_world(accelerator.state, precision)
    return accelerator


def check_start(encoder: nn.Module, data: TrainingData, training: Training, accelerator: Accelerator) -> None:
    """Check that texts fit the model that is trained, and log which of its weights are new or unused.

    Raises:
        InputError: it has too few embeddings or positions.
    """
    limits.check_vocabulary(encoder, data.queries.vocabulary, training.tokenizer)
    limits.check_lengths(encoder, training.settings, shared_tokens(data.queries))
    for text in (*training.adopted, *origins(encoder)) if accelerator.is_main_process else ():
        print(text, flush=True)


def loss_of(
    settings: TrainingSettings, data: TrainingData, size: int, accelerator: Accelerator
) -> Callable[[nn.Module, int], StepLoss]:
    """Return the function from a model and a batch (from 0) to the loss of this global batch.

    Args:
        size: queries of a batch.
    """
    world, rank = accelerator.num_processes, accelerator.process_index
    local, device = slice(rank * size // world, (rank + 1) * size // world), accelerator.device
    steps = total_steps(data.trainset.examples, settings)

    def step_loss(model: nn.Module, batch: int) -> StepLoss:
        rows, step = batch_rows(batch, data.trainset.examples, size), batch // settings.gradient_accumulation
        now = ramps.at_step(settings, step, steps)
        if isinstance(now, RankerTraining):
            loss = ranker_loss(model, data, rows, local, now, device, step)
        else:
            loss = retriever_loss(model, data, rows, local, now, device, step)
        for name, weight in ramps.moving(now):
            loss.note(f"{name}_weight", torch.tensor(weight))
        return loss

    return step_loss


def train(training: Training) -> None:
    """Train a stage, or go on with a training that was interrupted, and write its model folder."""
    settings = training.settings
    accelerator = new_accelerator(training)
    world, rank = accelerator.num_processes, accelerator.process_index
    set_seed((settings.seed + rank) % 2**32)
    vectors = {name: StoredVectors.read(*files) for name, files in training.teacher_vectors.items()}
    data = TrainingData.read(training.trainset, training.queries, training.passages, settings, vectors)
    data = with_prefixes(data, training.tokenizer, settings)
    size = batch_size(settings.batch_size, data.trainset.examples, world)

    def begin() -> tuple[nn.Module, nn.Module]:
        encoder = start(training.init, settings, training.tokenizer, training.passages, training.query_init)
        return encoder, trainable(encoder, settings)

    encoder, model = begin()
    check_start(encoder, data, training, accelerator)
    sharding.make_ready(accelerator, model, settings.precision)

    def unsharded() -> nn.Module:
        return sharding.unsharded(accelerator, encoder, model, begin)

    def save_model(step: int) -> None:
        trained = unsharded()
        if accelerator.is_main_process:
            with atomic(training.checkpoints / "models" / f"step.{step}") as folder:
                folder.mkdir()
                save(trained, settings, training.tokenizer, folder)
        accelerator.wait_for_everyone()

    validate = None
    if training.validation:
        reranking = Reranking.read(training.validation, training.passages, settings, accelerator)
        prefixed = with_prefixes(reranking, training.tokenizer, settings)
        validate = lambda _: prefixed.means(unsharded())  # noqa: E731
    owner = training.fingerprint(world) if accelerator.is_main_process else ""
    with closing(Checkpoints(training.checkpoints, owner, accelerator)) as checkpoints:
        start_trackers(accelerator, training)
        validation = training.validation.settings if training.validation else None
        plan = build_plan(settings, training.running, data.trainset.examples, validation)
        use = DeviceUse(accelerator)
        step_loss = loss_of(settings, data, size, accelerator)
        done = fit(accelerator, model, step_loss, plan, checkpoints, validate, save_model)
        record = machine(accelerator) | use.totals(done.seconds)
        trained = unsharded()
        if accelerator.is_main_process:
            write_stage(trained, training, record)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def write_stage(model: nn.Module, training: Training, record: dict[str, object]) -> None:
    """Write the model folder of a finished training, with its log, settings, versions and card.

    Args:
        record: what it was trained on.
    """
    with atomic(training.out) as folder:
        folder.mkdir()
        save(model, training.settings, training.tokenizer, folder)
        write_records(folder, training, record)
        write_card(folder, training.out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one stage.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--adopt", type=parse_adoption, help="what the recipe leaves to the folder of --init")
    parser.add_argument("--query-init", help="what an untied query encoder starts from, unless it is --init")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--queries", required=True, type=Path)
    parser.add_argument("--passages", required=True, nargs="+", type=Path)
    parser.add_argument("--trainset", required=True, type=Path)
    parser.add_argument("--settings", required=True, type=parser_of_family(TRAINING))
    running = parser_of(RunningSettings, "--running")
    parser.add_argument("--running", type=running, default=RunningSettings(), help="what no result depends on")
    parser.add_argument("--validation", type=parser_of(ValidationSettings, "--validation"))
    parser.add_argument("--validation-ranking", type=Path, help="the candidates; without it the judged passages")
    parser.add_argument("--validation-queries", type=Path, help="token ids of the validation queries")
    parser.add_argument("--validation-qrels", type=Path)
    parser.add_argument("--validation-ids", nargs=2, type=Path, metavar=("QUERIES", "PASSAGES"))
    parser.add_argument("--teacher-vectors", nargs="+", action="append", default=[], metavar=("TEACHER", "FILE"))
    parser.add_argument("--checkpoints", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    validation = None
    if a.validation:
        if not (a.validation_queries and a.validation_qrels and a.validation_ids):
            parser.error("--validation needs --validation-queries, --validation-qrels and --validation-ids")
        files = a.validation_queries, a.validation_qrels, tuple(a.validation_ids), a.validation_ranking
        validation = ValidationFiles(a.validation, *files)
    settings, notes = with_adopted(a.init, a.settings, a.adopt)
    training = Training(
        init=a.init,
        tokenizer=a.tokenizer,
        queries=a.queries,
        passages=a.passages,
        trainset=a.trainset,
        settings=settings,
        adopted=notes,
        checkpoints=a.checkpoints,
        out=a.out,
        query_init=a.query_init,
        running=a.running,
        validation=validation,
        teacher_vectors={name: [Path(file) for file in files] for name, *files in a.teacher_vectors},
    )
    train(training)


if __name__ == "__main__":
    run_main(main)
