"""Memory: the most memory a process ever held, against the batch size of a training and the size of a collection.

Run as `python benchmarks/memory.py` (about a minute on two cores). Every row is a process of its own, on the CPU, and
its number is the resident size of that process, libraries and model included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import workload

from led_pipeline import objectives, train
from led_pipeline.encode import dense_rows, sparse_rows
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder

CPU = torch.device("cpu")
LAYERS, HIDDEN, CANDIDATES = 4, 256, 8
OPTIONS = {
    "plain": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "gradient cache of 32": {"gradient_cache": 32},
}


def training_step(folder: Path, queries: int, option: str) -> None:
    encoder = DenseEncoder(workload.bert(LAYERS, HIDDEN)).train()
    settings = workload.settings("dense", **OPTIONS[option])
    data = workload.training_data(folder, queries, 2_000, CANDIDATES)
    loss, _ = objectives.retriever_loss(
        train.trainable(encoder, settings), data, np.arange(queries), slice(0, queries), settings, CPU
    )
    loss.backward()


def encoding(folder: Path, texts: int, family: str) -> None:
    store = workload.store(folder / "p.arrow", texts, workload.PASSAGE_TOKENS, 128, seed=2)
    if family == "dense":
        dense_rows(DenseEncoder(workload.bert(1, HIDDEN)).eval(), store, np.arange(texts), 128, CPU)
    else:
        model = LexiconEncoder(workload.masked_language_model(1, 64)).eval()
        with torch.no_grad():
            model.backbone.get_output_embeddings().bias.fill_(-4)  # random weights: a few hundred terms per text
        sparse_rows(model, store, np.arange(texts), 128, CPU)


def alone(*arguments: object) -> str:
    """Run one measurement in a process of its own; return its peak in MiB."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return f"{int(subprocess.run(command, capture_output=True, text=True, check=True).stdout):,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", nargs="?", choices=["nothing", "train", "encode"])
    parser.add_argument("size", nargs="?", type=int)
    parser.add_argument("what", nargs="?")
    a = parser.parse_args()
    if a.measure:
        with tempfile.TemporaryDirectory() as folder:
            if a.measure == "train":
                training_step(Path(folder), a.size, a.what)
            elif a.measure == "encode":
                encoding(Path(folder), a.size, a.what)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    print(f"{workload.machine()}\n")
    print(f"Libraries alone: {alone('nothing')} MiB.\n")
    workload.head([f"training step of {LAYERS} layers of {HIDDEN}, MiB", *(f"{q} x {CANDIDATES}" for q in (4, 16, 64))])
    for option in OPTIONS:
        workload.row([option, *(alone("train", queries, option) for queries in (4, 16, 64))])
    print()
    sizes = (500, 2_000, 8_000, 24_000)
    workload.head(["encoding, MiB", *(f"{size:,} passages" for size in sizes)])
    for family in ("dense", "lexicon"):
        workload.row([family, *(alone("encode", size, family) for size in sizes)])


if __name__ == "__main__":
    main()
