"""Check on a machine with a GPU, in a few minutes, that everything which only a GPU runs is right there.

Run as `make gpu-check`, or as `python benchmarks/gpu_check.py` in an environment without Snakemake, FAISS and Java. It
prints one page and writes it as gpu-check.json too; please send both back. `--cpu` makes the same checks with small
models on the processor, to see that they work. A check that fails does not stop the others; one whose packages are
missing is skipped. The exit status is 1 if a check failed or there is no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

NO_GPU = "no GPU here that torch can use: {advice}; --cpu makes the same checks on the processor"
ROOT = Path(__file__).parents[1]
TOLERANCE = {"float32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}  # of a difference, relative to the largest value
DTYPES = {"float32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class Failure(Exception):
    """A check that gave another result than it should."""


@dataclass
class Check:
    """The common state of all checks: where they run, the sizes of the models, and their results."""

    device: torch.device
    folder: Path
    results: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gpu = self.device.type == "cuda"
        self.layers, self.hidden, self.vocabulary = (12, 768, 30_522) if self.gpu else (2, 64, 500)
        self.texts, self.queries, self.candidates = (4_096, 16, 33) if self.gpu else (64, 2, 3)
        self.steps = 10 if self.gpu else 3

    def run(self, name: str, check: Callable[["Check"], str]) -> None:
        """Make a check, print its line, and keep it for the page."""
        started = time.perf_counter()
        try:
            state, text = "ok", check(self)
        except ImportError as error:
            state, text = "skipped", f"{error}"
        except Exception as error:  # one failure must not cost the other checks
            state, text = "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"
        seconds = round(time.perf_counter() - started, 1)
        self.results.append({"check": name, "state": state, "text": text, "seconds": seconds})
        print(f"{state:8}{name:34}{text}", flush=True)

    def autocast(self, precision: str) -> torch.autocast:
        dtype = DTYPES[precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def precisions(self) -> list[str]:
        """Return the precisions that the card computes."""
        from led_pipeline.jobs.gpus import BF16_CAPABILITY

        old = self.gpu and torch.cuda.get_device_capability(self.device) < BF16_CAPABILITY
        return ["float32", "fp16"] if old else list(DTYPES)

    def batch(self, count: int):
        import workload

        from led_pipeline.models.backbone import to_packed_batch

        store = workload.store(self.folder / f"{count}.arrow", count, 75, 128, seed=2, vocabulary=self.vocabulary)
        return to_packed_batch(store.texts(np.arange(count), 128), self.device)

    def model(self, family: str):
        """Return a model with random weights and BERT's dropout: BERT, and its half for a lexicon stage."""
        import workload

        from led_pipeline.models.dense import DenseEncoder
        from led_pipeline.models.lexicon import LexiconEncoder
        from led_pipeline.models.ranker import Ranker

        if family == "dense":
            return DenseEncoder(workload.bert(self.layers, self.hidden, self.vocabulary)).to(self.device)
        if family == "lexicon":
            sizes = self.layers // 2, self.hidden, self.vocabulary
            return LexiconEncoder(workload.masked_language_model(*sizes)).to(self.device)
        config = transformers.BertConfig(
            vocab_size=self.vocabulary, num_hidden_layers=self.layers, hidden_size=self.hidden,
            num_attention_heads=self.hidden // 64, intermediate_size=4 * self.hidden, num_labels=1,
        )  # fmt: skip
        torch.manual_seed(0)
        return Ranker(transformers.BertForSequenceClassification(config)).to(self.device)


def near(actual: torch.Tensor, expected: torch.Tensor, precision: str, quantity: str) -> float:
    """Return the largest difference relative to the largest value, if it is small enough."""
    error = ((actual.float() - expected.float()).abs().max() / expected.float().abs().max()).item()
    if not error < TOLERANCE[precision]:
        raise Failure(f"{quantity} in {precision}: relative difference {error:.1e}, at most {TOLERANCE[precision]:.0e}")
    return error


def card(c: Check) -> str:
    """The card, its driver, and whether torch has kernels for it."""
    from led_pipeline.jobs import gpus
    from led_pipeline.jobs.peaks import peak_tflops

    if not c.gpu:
        return "processor"
    card = torch.cuda.get_device_properties(c.device)
    gpus.check_card(card.name, (card.major, card.minor), torch.cuda.get_arch_list(), torch.__version__)
    name = f"{torch.cuda.device_count()} x {card.name}, capability {card.major}.{card.minor}"
    peak = f"peak {peak_tflops(card.name) or 'not known'} TFLOP/s"
    return f"{name}, {card.total_memory / 1e9:.0f} GB, driver {gpus.driver_version()}, {peak}"


def attention(c: Check) -> str:
    """Hidden states and gradients without padding, against the padded way."""
    from led_pipeline.models.backbone import hidden_states, padded_hidden_states

    model, texts = c.model("dense").eval().backbone, c.batch(64)
    with torch.no_grad():
        reference = padded_hidden_states(model, texts)
    direction = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0)).to(c.device)
    errors = []
    for precision in c.precisions():
        gradients = []
        for compute in (hidden_states, padded_hidden_states):
            model.zero_grad()
            with c.autocast(precision):
                output = compute(model, texts)
            (output.float() * direction).sum().backward()
            gradients.append(model.encoder.layer[0].attention.self.query.weight.grad.clone())
            if compute is hidden_states:
                error = near(output, reference, precision, "hidden states")
        near(*gradients, "bf16" if precision != "float32" else precision, "gradients")
        errors.append(f"{precision} {error:.0e}")
    return f"difference to padded float32: {', '.join(errors)}"


def lexicon_head(c: Check) -> str:
    """Weights of a lexicon stage, against the pooled logits of all positions."""
    from led_pipeline.models.backbone import padded_hidden_states
    from led_pipeline.models.lexicon import counting_positions, term_weights

    encoder, texts = c.model("lexicon").eval(), c.batch(32)
    errors = []
    with torch.no_grad():
        head = encoder.backbone.get_output_embeddings()
        lengths = texts.cu_seqlens.diff()
        mask = torch.arange(texts.longest, device=c.device) < lengths.unsqueeze(1)
        logits = torch.zeros(*mask.shape, c.vocabulary, device=c.device)
        logits[mask] = padded_hidden_states(encoder.backbone, texts) @ head.weight.T + head.bias
        expected = texts.restore(term_weights(logits, counting_positions(mask.long())))
        for precision in c.precisions():
            with c.autocast(precision):
                errors.append(f"{precision} {near(encoder(texts), expected, precision, 'weights'):.0e}")
    return f"difference to padded float32: {', '.join(errors)}"


def lexicon_gradient(c: Check) -> str:
    """Gradients through the highest logits, against those of all logits in float32; integers, so that many tie."""
    from led_pipeline.models.pooled_logits import max_pooled_logits

    lengths = [128, 90, 90, 7, 7, 3, 1]
    random = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randint(-2, 3, (n, 16), generator=random).float() for n in (sum(lengths), c.vocabulary))
    upstream = torch.randint(0, 2, (len(lengths), c.vocabulary), generator=random).float()
    logits = hidden @ weight.T
    highest = torch.stack([part.amax(0) for part in logits.split(lengths)])
    for precision in c.precisions():
        tensors = [tensor.clone().to(c.device).requires_grad_() for tensor in (hidden, weight)]
        with c.autocast(precision):
            values = max_pooled_logits(*tensors, None, lengths)
        (values.float() * upstream.to(c.device)).sum().backward()
        near(values.cpu(), highest, "float32", "highest logits")  # sums of small integers are exact
        # Wherever the gradient of an entry went, it is that entry's weight: the sum over a text's tokens is known.
        sums = torch.stack([part.sum(0) for part in tensors[0].grad.cpu().split(lengths)])
        near(sums, upstream @ weight, precision, "gradients of hidden states")
        entries = (tensors[1].grad.cpu() * weight).sum(1)  # the sum of the highest logits that were asked for
        near(entries, (upstream * highest).sum(0), precision, "gradients of output embeddings")
    return f"{len(lengths)} texts, equal to all logits"


def compiled_layers(c: Check) -> str:
    """Gradients of compiled layers, against plain ones, and the graphs that batches of several sizes take."""
    from torch._dynamo.utils import counters

    from led_pipeline.models import compiled
    from led_pipeline.models.backbone import hidden_states
    from led_pipeline.models.compiled import compile_layers

    compiled.COMPILER = "inductor" if c.gpu else "eager"
    torch._dynamo.reset()
    counters.clear()
    model = c.model("dense").eval().backbone
    texts, precision = c.batch(64), c.precisions()[-1]
    direction = torch.randn(len(texts.ids_N), c.hidden, generator=torch.Generator().manual_seed(0)).to(c.device)
    gradients = []
    for compile_first in (False, True):
        model.zero_grad()
        if compile_first:
            compile_layers(model)
        with c.autocast(precision):
            output = hidden_states(model, texts)
        (output.float() * direction).sum().backward()
        gradients.append(model.encoder.layer[0].attention.self.query.weight.grad.clone())
    error = near(gradients[1], gradients[0], precision, "gradients of compiled layers")
    before = counters["stats"]["unique_graphs"]
    for count in (3, 17, 50):
        with c.autocast(precision):
            hidden_states(model, c.batch(count))
    more = counters["stats"]["unique_graphs"] - before
    if more:
        raise Failure(f"batches of other sizes were compiled again, {more} graphs")
    return f"{before} graphs, none more for other sizes, difference in {precision} {error:.0e}"


def training(family: str) -> Callable[[Check], str]:
    """Steps in every precision: the loss falls, and in half precision no operation waits for the device."""

    def check(c: Check) -> str:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        texts = []
        for precision in c.precisions():
            AcceleratorState._reset_state(reset_partial_state=True)
            mixed = "no" if precision == "float32" or (precision == "fp16" and not c.gpu) else precision
            accelerator = Accelerator(mixed_precision=mixed, cpu=not c.gpu)
            texts.append(f"{precision} {steps(c, family, accelerator, precision)}")
        return "; ".join(texts)

    return check


def steps(c: Check, family: str, accelerator: Any, precision: str) -> str:
    import workload

    from led_pipeline.recipe.step_settings import TRAINING
    from led_pipeline.training import modules, objectives
    from led_pipeline.training.plan import Plan, optimizer_for

    settings = (
        TRAINING["ranker"].model_validate({"family": "ranker", "seed": 1}) if family == "ranker"
        else workload.settings(family)
    )  # fmt: skip
    queries, candidates = c.queries, c.candidates if family == "dense" else min(c.candidates, 6)
    data = workload.training_data(c.folder, queries, c.texts, candidates, c.vocabulary)
    objective = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
    model = modules.trainable(c.model(family), settings).train()
    optimizer = optimizer_for(model, Plan(c.steps, 1e-4, 0.01, 0.0, 1.0))
    model, optimizer = accelerator.prepare(model, optimizer)
    seconds, values = [], []
    if c.gpu:
        torch.cuda.reset_peak_memory_stats()
    for number in range(c.steps):
        started = time.perf_counter()
        # The lexicon's backward pass reads the number of active terms, and fp16 whether gradients overflowed.
        silent = c.gpu and number == c.steps - 1 and family != "lexicon" and precision == "bf16"
        if c.gpu:
            torch.cuda.set_sync_debug_mode("error" if silent else "default")
        loss = objective(model, data, np.arange(queries), slice(0, queries), settings, accelerator.device)
        accelerator.backward(loss.total)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if c.gpu:
            torch.cuda.set_sync_debug_mode("default")
        values.append(loss.total.item())
        seconds.append(time.perf_counter() - started)
    if not np.isfinite(values).all() or not min(values[1:]) < values[0]:
        raise Failure(f"{family} in {precision}: the loss of one batch does not fall: {values}")
    memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if c.gpu else ""
    return f"loss {values[0]:.3g} to {min(values):.3g}, {1e3 * np.median(seconds):.0f} ms{memory}"


def encoding(family: str) -> Callable[[Check], str]:
    """Vectors in the default precision, against padded float32; speed."""

    def check(c: Check) -> str:
        import workload

        from led_pipeline.inference.encode import dense_rows, sparse_rows

        store = workload.store(c.folder / "e.arrow", c.texts, 75, 128, seed=5, vocabulary=c.vocabulary)
        model, rows = c.model(family).eval(), np.arange(c.texts)
        run = dense_rows if family == "dense" else sparse_rows
        run(model, store, rows[:32], 128, c.device)
        started = time.perf_counter()
        values = run(model, store, rows, 128, c.device)
        rate = c.texts / (time.perf_counter() - started)
        exact = run(model, store, rows[:32], 128, c.device, "float32")
        if family == "dense":
            error = near(torch.from_numpy(values[:32]), torch.from_numpy(exact), "fp16", "vectors")
        else:
            sums = [torch.tensor([v["weights"][i].sum() for i in range(32)]) for v in (values, exact)]
            error = near(*sums, "fp16", "sums of weights")
        return f"{rate:,.0f} passages/s, difference to float32 {error:.0e}"

    return check


def scoring(c: Check) -> str:
    """A ranker's scores in the default precision, against float32."""
    import workload

    from led_pipeline.inference import batches
    from led_pipeline.recipe.step_settings import TRAINING

    data = workload.training_data(c.folder, c.queries, c.texts, 4, c.vocabulary)
    passages = np.concatenate([data.trainset.passages[row] for row in range(c.queries)])
    pairs = np.repeat(np.arange(c.queries, dtype=np.int32), 4), passages
    settings = TRAINING["ranker"].model_validate({"family": "ranker", "seed": 1})
    model = c.model("ranker").eval()
    scores, exact = (
        torch.from_numpy(batches.score(model, data.queries, data.passages, pairs, settings, c.device, precision))
        for precision in (None, "float32")
    )
    return f"difference to float32 {near(scores, exact, 'fp16', 'scores'):.0e}"


def dense_search(c: Check) -> str:
    """Exact search with long ties on all devices, against sorting all scores."""
    from led_pipeline.search import torch_engine

    count = max(1, torch.cuda.device_count()) if c.gpu else 2
    devices = [torch.device("cuda", i) for i in range(count)] if c.gpu else [c.device] * count
    random = np.random.default_rng(0)
    passages = random.integers(-1, 2, (300_000 if c.gpu else 3_000, 32)).astype(np.float16)
    queries = random.integers(-1, 2, (64, 32)).astype(np.float16)
    started = time.perf_counter()
    keys = np.concatenate(list(torch_engine.search(devices, [Path("p")], [passages], queries, 300)))
    seconds = time.perf_counter() - started
    scores = queries.astype(np.float32) @ passages.astype(np.float32).T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :300]
    if not ((keys & np.uint64(0xFFFF_FFFF)).astype(np.int64) == expected).all():
        raise Failure("other passages than sorting all scores gives")
    return f"{len(passages):,} passages on {torch_engine.probe(devices)} in {seconds:.1f} s, equal to sorting"


def launched(c: Check, count: int) -> list[dict[str, Any]]:
    """Run this file as a job of the launcher on some devices, and return what its processes print."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    }
    devices = ["--gpu", str(count)] if c.gpu else ["--gpu", "0", "--processes", str(count)]
    command = [sys.executable, "-m", "led_pipeline.jobs.launch", *devices, "--threads", str(count)]
    command += ["--", "gpu_check", "--rank", str(c.folder)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    if answer.returncode or len(lines) != count:
        raise Failure(f"exit status {answer.returncode}: {(answer.stdout + answer.stderr)[-500:]}")
    return lines


def lease(c: Check) -> str:
    """A job of the launcher, on a leased device."""
    (line,) = launched(c, 1)
    return f"{line['device']}, loss without dropout {line['loss']:.6g}"


def two_ranks(c: Check) -> str:
    """Two processes give the loss of one; without a second GPU there is nothing to check."""
    if c.gpu and torch.cuda.device_count() < 2:
        return "one GPU: not checked"
    (one,), both = launched(c, 1), launched(c, 2)
    if any(abs(line["loss"] - one["loss"]) > 1e-4 * abs(one["loss"]) for line in both):
        raise Failure(f"losses {[line['loss'] for line in both]} on two processes, {one['loss']} on one")
    return f"losses equal to that of one process, {one['loss']:.6g}"


def rank(folder: Path) -> None:
    """Print this process's device and the loss of a global batch without dropout, as a job of the launcher."""
    import workload

    from led_pipeline.models.devices import process_state
    from led_pipeline.training import modules, objectives

    state = process_state()
    c = Check(state.device, Path(tempfile.mkdtemp(dir=folder)))
    c.layers, c.hidden, c.vocabulary = 2, 64, 500
    settings, size = workload.settings("dense"), 4
    data = workload.training_data(c.folder, size, 64, 3, c.vocabulary)
    share = slice(*(size * number // state.num_processes for number in (state.process_index, state.process_index + 1)))
    model = modules.trainable(c.model("dense"), settings).eval()
    loss = objectives.retriever_loss(model, data, np.arange(size), share, settings, state.device)
    line = json.dumps({"device": str(state.device), "world": state.num_processes, "loss": loss.total.item()})
    os.write(1, (line + "\n").encode())  # one call, so that lines of two processes cannot mix
    state.destroy_process_group()


CHECKS: dict[str, Callable[[Check], str]] = {
    "card": card,
    "attention": attention,
    "head of a lexicon stage": lexicon_head,
    "gradient of a lexicon stage's head": lexicon_gradient,
    "compiled layers": compiled_layers,
    "training of a dense stage": training("dense"),
    "training of a lexicon stage": training("lexicon"),
    "training of a ranker": training("ranker"),
    "encoding, dense": encoding("dense"),
    "encoding, lexicon": encoding("lexicon"),
    "scoring": scoring,
    "dense search": dense_search,
    "lease": lease,
    "two processes": two_ranks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="the same checks on the processor, with small models")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"))
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.rank:
        rank(a.rank)
        return
    usable = torch.cuda.is_available()
    if not (usable or a.cpu):
        from led_pipeline.jobs.gpus import driver_advice

        sys.exit(NO_GPU.format(advice=driver_advice(torch.version.cuda)))
    versions = {"torch": torch.__version__, "CUDA": torch.version.cuda, "transformers": transformers.__version__}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"gpu-check, {time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {packages}")
    with tempfile.TemporaryDirectory() as folder:
        checks = Check(torch.device("cpu") if a.cpu else torch.device("cuda", 0), Path(folder))
        for name, check in CHECKS.items():
            checks.run(name, check)
    a.out.write_text(json.dumps({"versions": versions, "cpu": a.cpu, "checks": checks.results}, indent=1) + "\n")
    failed = [result["check"] for result in checks.results if result["state"] == "FAILED"]
    right = len(checks.results) - len(failed)
    print(f"\n{right} of {len(checks.results)} checks without a fault; please send this page and {a.out} back")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
