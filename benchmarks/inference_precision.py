"""Measure what the precision of inference changes on a processor: the time of encoding, and the ranking of a stage.

Run after `make demo` as `python benchmarks/inference_precision.py results/demo led`. All passages and dev queries are
encoded again by a dense stage in each precision, one thread; the rankings are exact.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import workload

from led_pipeline.data.formats.judgements import load_qrels
from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tables import read_column
from led_pipeline.data.tokens import TokenStore
from led_pipeline.inference.encode import dense_rows
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.layout import Layout

CPU = torch.device("cpu")
PRECISIONS = ("float32", "bf16", "int8")
DEPTH = 10


def encoded(folder: Path, side: str, tokens: list[Path], precision: str) -> tuple[np.ndarray, float]:
    """Return the vectors of all texts, and the processor time of their encoding."""
    model, settings = load(folder)
    encoder = encoder_of(model.eval(), side)
    store = with_prefix(TokenStore.for_stage(tokens, settings), side, folder, settings)
    dense_rows(encoder, store, np.arange(8), settings.length(side), CPU, precision)
    started = time.process_time()
    vectors = dense_rows(encoder, store, np.arange(len(store)), settings.length(side), CPU, precision)
    return vectors.astype(np.float32), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("stage")
    parser.add_argument("--tokenizer", default="pretrain", help="folder under tokens/")
    parser.add_argument("--split", default="dev")
    a = parser.parse_args()
    torch.set_num_threads(1)
    layout = Layout(str(a.results))
    folder = Path(layout.model(a.stage))
    passages = sorted(
        (a.results / "tokens" / a.tokenizer).glob("passages.*.arrow"), key=lambda p: int(p.suffixes[0][1:])
    )
    queries = [Path(layout.query_tokens(a.tokenizer, a.split))]
    qids, pids = (read_column(Path(path), "id") for path in (layout.queries(a.split), layout.passages))
    row_of = {pid: row for row, pid in enumerate(pids)}
    qrels = load_qrels(Path(layout.qrels(a.split)))
    print(f"{workload.machine()}\n")
    workload.head(["precision", "encoding, CPU s", "float32 = 1", f"MRR@{DEPTH}", f"equal first {DEPTH} passages"])
    reference: tuple[float, np.ndarray] | None = None
    for precision in PRECISIONS:
        vectors, seconds = encoded(folder, "passage", passages, precision)
        query_vectors, _ = encoded(folder, "query", queries, precision)
        best = np.argsort(-(query_vectors @ vectors.T), axis=1, kind="stable")[:, :DEPTH]
        relevant = [{row_of[pid] for pid, grade in qrels.get(qid, {}).items() if grade > 0} for qid in qids]
        ranks = [
            next((i for i, row in enumerate(rows, 1) if row in good), None)
            for rows, good in zip(best, relevant, strict=True)
        ]
        mrr = float(np.mean([1 / rank if rank else 0.0 for rank in ranks]))
        reference = reference or (seconds, best)
        same = np.mean(
            [len(set(x) & set(y)) / DEPTH for x, y in zip(best.tolist(), reference[1].tolist(), strict=True)]
        )
        workload.row([precision, f"{seconds:.1f}", f"{reference[0] / seconds:.2f}", f"{mrr:.4f}", f"{same:.1%}"])


if __name__ == "__main__":
    main()
