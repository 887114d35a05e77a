"""Measure encoding, training steps and memory on one GPU, with and without each optimisation; estimate recipe hours.

Run as `python benchmarks/gpu.py` on a machine with a GPU (about five minutes). `--tiny` runs the same code on small
models, also on a CPU, to check that it works; its numbers mean nothing. Models have random weights and the shapes of
BERT-base (DEN) and DistilBERT (LEX); tokens are random, with lengths like MS MARCO's. A row that fails prints the
reason and the others still run, since time on such a machine is scarce.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import workload
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn

from led_pipeline.inference import batches
from led_pipeline.inference.encode import dense_rows, sparse_rows
from led_pipeline.models import backbone, pooled_logits
from led_pipeline.models.backbone import hidden_states, padded_hidden_states, to_packed_batch
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.training import modules, objectives, training_data
from led_pipeline.training.exchange import set_exchange

PEAK = 790e12  # bf16 FLOP/s that an 8192-cubed product reached on an H200
COLLECTION, TRAIN_QUERIES, EPOCHS = 8_841_823, 502_939, 3
# Stages of config/config.yaml: (family, batch size, passages per query). All but the last are encoded for mining too.
RECIPE = [
    ("dense", 16, 8),
    ("lexicon", 48, 6),
    ("lexicon", 48, 6),
    ("dense", 16, 8),
    ("dense", 16, 33),
    ("dense", 16, 33),
]


class Bench:
    """The common state of all rows: device, sizes, stores of synthetic texts, and measured rates."""

    def __init__(self, folder: Path, tiny: bool):
        self.tiny, self.folder = tiny, folder
        self.gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.gpu else "cpu")
        self.layers, self.hidden, self.vocabulary = (2, 64, 500) if tiny else (12, 768, workload.VOCABULARY)
        self.texts, self.steps = (100, 1) if tiny else (65_536, 20)
        self.store = workload.store(folder / "p.arrow", self.texts, 75, 128, seed=2, vocabulary=self.vocabulary)
        self.tokens = int(self.store.lengths(range(self.texts), 128).sum())
        self.rates: dict[str, float] = {}

    def encoder(self, family: str) -> nn.Module:
        if family == "dense":
            return DenseEncoder(workload.bert(self.layers, self.hidden, self.vocabulary)).to(self.device)
        layers = self.layers // 2
        return LexiconEncoder(workload.masked_language_model(layers, self.hidden, self.vocabulary)).to(self.device)

    def flops_per_token(self, family: str) -> float:
        """FLOP of a forward pass: matrix products of the layers, attention at 75 tokens, and the head of LEX."""
        layers = self.layers if family == "dense" else self.layers // 2
        forward = layers * (24 * self.hidden**2 + 4 * self.hidden * 75)
        head = 2 * self.hidden * (self.hidden + self.vocabulary)
        return forward + (head if family == "lexicon" else 0)

    def seconds(self, run: Callable[[], object]) -> float:
        """Return the seconds of one run, until the GPU has finished."""
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def peak_gib(self) -> str:
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if self.gpu else "-"


@contextmanager
def plain(padded: bool, by_length: bool = False):
    """Run all models the padded way, or take the maximum of logits by length."""
    with ExitStack() as stack:
        if padded:
            stack.enter_context(patch.dict(backbone.FIRST_POSITION, clear=True))
        if by_length:
            stack.enter_context(patch.dict(pooled_logits.HIGHEST, {"cuda": pooled_logits.by_length}))
        yield


failed: list[str] = []


def attempt(name: str, measure: Callable[[], list[object]]) -> None:
    """Print a row of measurements, or the reason for its failure."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        workload.row([name, *measure()])
    except Exception as error:  # one row's failure must not cost the others
        failed.append(name)
        workload.row(
            [name, f"failed: {type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''}"]
        )


def assembly(b: Bench) -> list[object]:
    groups = list(batches.by_length(b.store.lengths(range(b.texts), 128), batches.TOKENS_PER_BATCH["cuda"]))
    seconds = b.seconds(lambda: [b.store.texts(group, 128) for group in groups])
    return [f"{b.texts / seconds:,.0f}"]


def agreement(b: Bench, dtype: torch.dtype) -> list[object]:
    """Return the largest difference to the padded way, relative to the largest value."""
    model = b.encoder("dense").eval().backbone
    texts = to_packed_batch(b.store.texts(np.arange(min(b.texts, 256)), 128), b.device)
    with torch.inference_mode(), torch.autocast(b.device.type, torch.bfloat16, enabled=dtype != torch.float32):
        result, expected = hidden_states(model, texts), padded_hidden_states(model, texts)
    error = (result.float() - expected.float()).abs()
    return [f"{error.max() / expected.abs().max():.1e}", f"{error.norm() / expected.norm():.1e}"]


def encode(
    b: Bench, family: str, *, padded: bool = False, ordered: bool = True, half: bool = False, compiled: bool = False
):
    model = b.encoder(family).eval()
    if half:
        model.backbone.bfloat16()
    if compiled:
        model.backbone.compile(dynamic=True)
    run = dense_rows if family == "dense" else sparse_rows
    rows = np.arange(b.texts)
    by_length = batches.by_length if ordered else unordered
    with plain(padded), patch.object(batches, "by_length", by_length):
        warm = rows[: b.texts // 4] if compiled else rows[: b.texts // 16]
        run(model, b.store, warm, 128, b.device)
        seconds = b.seconds(lambda: run(model, b.store, rows, 128, b.device))
    rate = b.texts / seconds
    b.rates[f"encode {family}"] = max(rate, b.rates.get(f"encode {family}", 0))
    share = b.flops_per_token(family) * b.tokens / seconds / PEAK
    return [f"{rate:,.0f}", f"{b.tokens / seconds:,.0f}", f"{share:.0%}", b.peak_gib()]


def unordered(lengths: np.ndarray, tokens_per_batch: int):
    """Yield groups in the given order, as many texts each as fit when all are as long as the longest."""
    size = max(1, tokens_per_batch // int(lengths.max()))
    yield from np.split(np.arange(len(lengths)), range(size, len(lengths), size))


def step(
    b: Bench, family: str, queries: int, candidates: int, *, padded: bool = False, by_length: bool = False, **changes
):
    """Measure training steps, the assembly of their batches included.

    Args:
        padded: run the models the padded way.
        by_length: take the maximum of logits by length, as on a processor.
        changes: of the settings of the training.
    """
    if b.tiny:
        queries, candidates = 4, 3
    encoder = b.encoder(family)
    settings, all_rows = workload.settings(family, **changes), slice(0, queries)
    retriever = modules.trainable(encoder, settings).train()
    optimizer = torch.optim.AdamW(retriever.parameters(), lr=1e-6, fused=True)
    accelerator = Accelerator(mixed_precision="bf16" if b.gpu else "no", cpu=not b.gpu)
    model, optimizer = accelerator.prepare(retriever, optimizer)
    data = workload.training_data(b.folder, queries * 8, b.texts, candidates)
    data = training_data.TrainingData(data.queries, b.store, data.trainset)
    if b.tiny:
        data = training_data.TrainingData(b.store, b.store, data.trainset)

    def run(steps: int) -> None:
        for i in range(steps):
            rows = np.arange(queries) + queries * (i % 8)
            loss = objectives.retriever_loss(model, data, rows, all_rows, settings, b.device)
            accelerator.backward(loss.total)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    with plain(padded, by_length):
        run(8 if settings.compile else 1 if b.tiny else 3)
        seconds = b.seconds(lambda: run(b.steps)) / b.steps
    tokens = queries * (candidates * 75 + 9)
    if not changes and not padded:
        b.rates[f"train {family}"] = max(tokens / seconds, b.rates.get(f"train {family}", 0))
    share = 3 * b.flops_per_token(family) * tokens / seconds / PEAK
    return [f"{1 / seconds:.2f}", f"{tokens / seconds:,.0f}", f"{share:.0%}", b.peak_gib()]


def exchange(b: Bench, name: str) -> list[object]:
    """Return the milliseconds in which two processes add up the gradients of a BERT-base, in a type of gradients."""
    weights = 110_000_000 if b.gpu else 1_000_000
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    answer = subprocess.run([*command, "--rank", name, str(weights)], capture_output=True, text=True, timeout=300)
    if answer.returncode:
        raise RuntimeError((answer.stdout + answer.stderr).strip().splitlines()[-1])
    return [answer.stdout.strip().splitlines()[-1]]


def rank(name: str, weights: int) -> None:
    """Time the exchange as one of two processes; the first prints the median of ten steps."""
    handler = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    accelerator = Accelerator(kwargs_handlers=[handler], cpu=not torch.cuda.is_available())
    model = accelerator.prepare(nn.Linear(1_000, weights // 1_000, bias=False))
    set_exchange(model, name)
    inputs, seconds = torch.ones(1, 1_000, device=accelerator.device), []
    for _ in range(13):
        accelerator.wait_for_everyone()
        start = time.perf_counter()
        model(inputs).sum().backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    if accelerator.is_main_process:
        print(f"{1e3 * float(np.median(seconds[3:])):.1f}")
    accelerator.end_training()


def peer(b: Bench, measure: str) -> list[object]:
    """Return the rates of ours and of sentence-transformers in its fastest configuration, and their ratio."""
    import peers  # sentence-transformers may be missing, which is a row's failure

    cells: list[object] = []
    sides = peers.Sides(b.folder / f"peer-{measure}", b.layers, b.hidden, b.device)
    count, rounds = min(b.texts, 4_096), 1 if b.tiny else 5
    queries, candidates = (2, 3) if b.tiny else (16, 33)
    with patch.object(peers, "report", lambda _, *rates: cells.extend(peers.cells(*rates))):
        if measure == "encode":
            store = workload.store(b.folder / "peer.arrow", count, 75, 128, seed=5)
            peers.compare_encoding(sides, store, count, rounds)
        else:
            peers.compare_step(sides, b.folder, queries, candidates - 1, rounds)
    return [*cells, sides.conditions]


def hours(b: Bench, gpus: int) -> float:
    """Return the hours of all trainings and encodings at the measured rates, assuming 90 % efficiency on 8 GPUs."""
    total = 0.0
    for i, (family, _, candidates) in enumerate(RECIPE):
        tokens = TRAIN_QUERIES * EPOCHS * (candidates * 75 + 9)
        total += tokens / b.rates[f"train {family}"] / gpus / (1.0 if gpus == 1 else 0.9)
        total += (COLLECTION + TRAIN_QUERIES / 8 * (i < len(RECIPE) - 2)) / b.rates[f"encode {family}"] / gpus
    return total / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small models and few texts, on a CPU too")
    parser.add_argument("--compile", action="store_true", help="compiled layers without a GPU too; slow at first")
    parser.add_argument("--exchange", action="store_true", help="the exchange of gradients without two GPUs too")
    parser.add_argument("--rank", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        rank(options.rank[0], int(options.rank[1]))
        return
    tiny = options.tiny
    if not tiny and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny only checks that the script works")
    print(f"{workload.machine()}{' (tiny: the numbers mean nothing)' if tiny else ''}\n")
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(Path(folder), tiny)
        workload.head(["assembly of batches alone, on the CPU", "passages/s"])
        attempt("one thread", lambda: assembly(b))
        print()
        workload.head(["against the padded way", "largest difference", "relative error"])
        attempt("float32", lambda: agreement(b, torch.float32))
        attempt("bf16", lambda: agreement(b, torch.bfloat16))
        print()
        workload.head(["encoding", "passages/s", "tokens/s", "of 790 TFLOP/s", "GiB"])
        attempt("DEN, padded, given order", lambda: encode(b, "dense", padded=True, ordered=False))
        attempt("DEN, padded, sorted", lambda: encode(b, "dense", padded=True))
        attempt("DEN, no padding", lambda: encode(b, "dense"))
        attempt("DEN, no padding, weights in bf16", lambda: encode(b, "dense", half=True))
        attempt("LEX, padded, sorted", lambda: encode(b, "lexicon", padded=True))
        attempt("LEX, no padding", lambda: encode(b, "lexicon"))
        if b.gpu:
            attempt("DEN, no padding, bf16, torch.compile", lambda: encode(b, "dense", half=True, compiled=True))
        print()
        workload.head(["training", "steps/s", "tokens/s", "of 790 TFLOP/s", "GiB"])
        attempt("LED 16 x 33, padded", lambda: step(b, "dense", 16, 33, padded=True))
        attempt("LED 16 x 33", lambda: step(b, "dense", 16, 33))
        attempt("LED 16 x 33, gradient checkpointing", lambda: step(b, "dense", 16, 33, gradient_checkpointing=True))
        attempt(
            "LED 16 x 33, gradient cache of 128",
            lambda: step(b, "dense", 16, 33, gradient_cache=8 if tiny else 128),
        )
        attempt("LED 128 x 33, gradient cache of 512", lambda: step(b, "dense", 128, 33, gradient_cache=512))
        attempt("LEX 48 x 6, padded", lambda: step(b, "lexicon", 48, 6, padded=True))
        attempt("LEX 48 x 6", lambda: step(b, "lexicon", 48, 6))
        attempt("LEX 48 x 6, maximum by length", lambda: step(b, "lexicon", 48, 6, by_length=True))
        if b.gpu or options.compile:
            attempt("LED 16 x 33, compile: true", lambda: step(b, "dense", 16, 33, compile=True))
            attempt("LED 4 x 33", lambda: step(b, "dense", 4, 33))
            attempt("LED 4 x 33, compile: true", lambda: step(b, "dense", 4, 33, compile=True))
            attempt("LEX 48 x 6, compile: true", lambda: step(b, "lexicon", 48, 6, compile=True))
        if torch.cuda.device_count() > 1 or options.exchange:
            print()
            workload.head(["exchange of gradients between two processes", "ms"])
            for name in ("float32", "bf16"):
                attempt(f"gradient_exchange: {name}", lambda name=name: exchange(b, name))
        print()
        workload.head(
            ["against sentence-transformers", "ours", "theirs", "times faster", "processor time", "conditions"]
        )
        attempt("DEN, encode", lambda: peer(b, "encode"))
        attempt("LED 16 x 33, step without a teacher", lambda: peer(b, "step"))
        print()
        workload.head(["modelled: training and encoding of config/config.yaml, without mining", "hours"])
        for gpus in (1, 8):
            attempt(f"{gpus} GPU", lambda gpus=gpus: [f"{hours(b, gpus):.1f}"])
    if failed:
        raise SystemExit(f"{len(failed)} rows failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
