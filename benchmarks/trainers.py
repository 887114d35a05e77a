"""Compare the speed of a training step with Tevatron's and LED's code, alternating in one run.

    git clone https://github.com/texttron/tevatron && git clone https://github.com/drogozhang/LED
    python benchmarks/trainers.py --tevatron tevatron --led LED

Each peer runs in its own process, imported from a checkout (`trainer_worker.py`); Tevatron needs peft. Both sides have
the same sizes, random weights, token ids, precision (float32) and fused AdamW; lengths are like MS MARCO's. The peers
get the batch padded to its longest text, like from their collators.

- Tevatron: contrastive loss of a batch, one encoder.
- LED: its loss with the lexicon teacher (a DistilBERT of the student's size). LED's teacher encodes all passages in
  every step; ours reads scores that one pass over the collection has stored. `led-contrastive` is the step without the
  teacher, as in the warm-up.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import workload
from torch.nn.utils.rnn import pad_sequence

from led_pipeline.models.dense import DenseEncoder
from led_pipeline.recipe.step_settings import RetrieverTraining
from led_pipeline.training.modules import trainable
from led_pipeline.training.objectives import retriever_loss
from led_pipeline.training.training_data import TrainingData

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a comparison."""

    layers: int
    hidden: int
    threads: int
    rounds: int


class Peer:
    """A peer's training step in its own process."""

    def __init__(self, name: str, checkout: Path, batch: Path, sizes: Sizes):
        command = [sys.executable, str(Path(__file__).with_name("trainer_worker.py")), name, str(checkout), str(batch)]
        command += ["--layers", str(sizes.layers), "--hidden", str(sizes.hidden), "--threads", str(sizes.threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def step(self) -> tuple[float, float]:
        """Run one step; return its seconds of wall time and of processor time."""
        self.process.stdin.write("step\n")
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"the peer stopped with status {self.process.wait()}; its message is above")
        return float(answer[0]), float(answer[1])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def write_batch(data: TrainingData, queries: int, path: Path) -> None:
    """Write the token ids of a batch, padded to the longest text of each side, with their masks."""
    sides = {"query": (data.queries, np.arange(queries), 32)}
    passages = np.concatenate([data.trainset.passages[i] for i in range(queries)])
    sides["passage"] = (data.passages, passages, 128)
    arrays = {}
    for side, (store, rows, longest) in sides.items():
        texts = store.texts(rows, longest)
        ids = pad_sequence(torch.from_numpy(texts.ids.astype(np.int64)).split(texts.lengths.tolist()), batch_first=True)
        mask = np.arange(ids.shape[1]) < texts.lengths[:, None]
        arrays |= {f"{side}_ids": ids.numpy(), f"{side}_mask": mask.astype(np.int64)}
    np.savez(path, queries=queries, **arrays)


def our_step(
    data: TrainingData, queries: int, settings: RetrieverTraining, sizes: Sizes
) -> Callable[[], tuple[float, float]]:
    """Return a function that runs one step and returns its seconds of wall time and of processor time."""
    model = trainable(DenseEncoder(workload.bert(sizes.layers, sizes.hidden)), settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    rows = np.arange(queries)

    def step() -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        retriever_loss(model, data, rows, slice(0, queries), settings, CPU).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return step


def compare(
    name: str, checkout: Path, queries: int, candidates: int, settings: RetrieverTraining, sizes: Sizes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = workload.training_data(Path(folder), queries, 4_000, candidates)
        batch = Path(folder, "batch.npz")
        write_batch(data, queries, batch)
        peer, ours = Peer(name, checkout, batch, sizes), our_step(data, queries, settings, sizes)
        peer.step(), ours()
        seconds: tuple[workload.Seconds, workload.Seconds] = ([], [])
        for i in range(sizes.rounds):
            for side in (0, 1) if i % 2 == 0 else (1, 0):
                seconds[side].append((ours, peer.step)[side]())
        peer.close()
    medians = (f"{np.median([wall for wall, _ in side]):.3f} s" for side in seconds)
    ratios = (workload.ratio(seconds, 0), workload.ratio(seconds, 1))
    workload.row([f"{name}: {queries} x {candidates}", *medians, *ratios])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tevatron", type=Path, help="a checkout")
    parser.add_argument("--led", type=Path, help="a checkout")
    parser.add_argument("--led-queries", type=int, default=4, help="16 as in the paper takes it over 24 GiB on a CPU")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(workload.machine())
    print(f"BERT of {a.layers} layers of {a.hidden}, float32; {a.rounds} rounds in turns; ratio: median (range)\n")
    workload.head(["step", "led_pipeline", "peer", "times faster", "less processor time"])
    sizes = Sizes(a.layers, a.hidden, a.threads, a.rounds)
    if a.tevatron:
        compare("tevatron", a.tevatron, 16, 8, workload.settings("dense", teachers=[]), sizes)
    if a.led:
        compare("led-contrastive", a.led, a.led_queries, 33, workload.settings("dense", teachers=[]), sizes)
        compare("led", a.led, a.led_queries, 33, workload.settings("dense"), sizes)


if __name__ == "__main__":
    main()
