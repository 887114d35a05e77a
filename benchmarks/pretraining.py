"""Compare the speed of pre-training with bags of words with that of masked tokens alone, alternating in one run.

Run as `OMP_NUM_THREADS=1 python benchmarks/pretraining.py --threads 1`, with `--tiny` to check the script. Both sides
have a model of the same sizes and random weights, the same passages (lengths like MS MARCO's, cut at 144 tokens) and
masks, and take whole steps: masking, forward and backward pass, update. A ratio is the median (range) over rounds in
which the sides take turns.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import workload
from transformers import BertConfig, BertForMaskedLM

from led_pipeline.data.masking import Vocabulary
from led_pipeline.data.tokens import TokenStore
from led_pipeline.models.masked_lm import MaskedLm
from led_pipeline.recipe.step_settings import MaskedLmTraining
from led_pipeline.training.masked_lm import Passages
from led_pipeline.training.masked_objective import bow_weight, masked_loss, trainable

LENGTH, STEPS = 144, 100_000
SPECIAL = [0, 1, 2, 3, 4]


def words() -> Vocabulary:
    """Return the vocabulary of a synthetic store, with [MASK] 4 and no stop words."""
    stop = np.zeros(workload.VOCABULARY, dtype=bool)
    stop[SPECIAL] = True
    return Vocabulary(workload.VOCABULARY, 4, SPECIAL, stop)


def stepper(store: TokenStore, layers: int, hidden: int, batch: int, weight: float) -> Callable[[], object]:
    """Return a function that takes the next step of a training whose words have some weight (0: without them)."""
    values = {"family": "masked_lm", "passage_length": LENGTH, "batch_size": batch, "bow_weight": weight, "seed": 0}
    settings = MaskedLmTraining.model_validate(values)
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64, intermediate_size=4 * hidden
    )
    encoder = MaskedLm(BertForMaskedLM(config))
    model = trainable(encoder.train(), recompute=False, layers=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rows = np.arange(len(store))
    passages = Passages(store, rows, words(), settings, slice(0, batch), torch.device("cpu"))
    done = 0

    def step() -> None:
        nonlocal done
        masked_loss(model, passages.parts(done), batch, bow_weight(settings, done, STEPS)).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        done += 1

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare pre-training with and without bags of words.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args()
    if a.tiny:
        a.layers, a.hidden, a.batch, a.rounds = 1, 64, 4, 1
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = workload.store(Path(folder, "passages.arrow"), 4 * a.batch, workload.PASSAGE_TOKENS, LENGTH, seed=0)
        sides = [stepper(store, a.layers, a.hidden, a.batch, weight) for weight in (1.0, 0.0)]
        seconds = workload.in_turns(*sides, rounds=a.rounds)
    print(workload.machine(), "\n")
    workload.head(["size of the BERT", "passages of a step", "throughput by the clock", "by processor time"])
    shares = [share(seconds, clock) for clock in (0, 1)]
    workload.row([f"{a.layers} layers of {a.hidden}", a.batch, *shares])


def share(seconds: tuple[workload.Seconds, workload.Seconds], clock: int) -> str:
    """Return the throughput with bags of words as a share of that without: the median of the rounds, and the range."""
    shares = [plain[clock] / bow[clock] for bow, plain in zip(*seconds, strict=True)]
    return f"{statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})"


if __name__ == "__main__":
    main()
