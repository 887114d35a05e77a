"""Encode: one shard of texts to vectors, under torchrun; the ranks share the shard between them.

Run as `torchrun -m led_pipeline.inference.encode --model DIR --tokens SHARD --side passage --out FILE`. A dense model
writes a float16 matrix (.npy), a lexicon model its unquantised weights as sparse rows (.arrow).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.data.opened import matrix
from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import read_arrow, shard_range, write_arrow, write_matrix
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.atomic import remove, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.models.bi_encoder import encoder_of, size_of
from led_pipeline.models.devices import process_state
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.representation import LexiconRepresentation


def dense_rows(
    model: torch.nn.Module,
    store: TokenStore,
    rows: NDArray,
    length: int,
    device: torch.device,
    precision: batches.Precision = None,
    progress: Progress | None = None,
) -> NDArray[np.float16]:
    """Return the vectors of some rows in order, as a matrix."""
    matrix = np.empty((len(rows), size_of(model)), dtype=np.float16)

    def fill(group: NDArray[np.int64], vectors: Tensor) -> None:
        matrix[group] = vectors.half().cpu().numpy()

    batches.encode(model, store, rows, length, device, fill, precision, progress)
    return matrix


def sparse_rows(
    model: torch.nn.Module,
    store: TokenStore,
    rows: NDArray,
    length: int,
    device: torch.device,
    precision: batches.Precision = None,
    progress: Progress | None = None,
) -> dict[str, Ragged]:
    """Return the positive weights of some rows in order, terms ascending; only these leave the device."""
    groups, parts = (
        [np.empty(0, dtype=np.int64)],
        [(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32))],
    )

    def collect(group: NDArray[np.int64], weights_BV: Tensor) -> None:
        text, term = weights_BV.nonzero(as_tuple=True)
        counts = torch.bincount(text, minlength=len(group))
        groups.append(group)
        weights = weights_BV[text, term].cpu().numpy()
        parts.append((counts.cpu().numpy(), term.cpu().numpy().astype(np.uint32), weights))

    batches.encode(model, store, rows, length, device, collect, precision, progress)
    counts, terms, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    # A model may have more entries than its tokenizer has tokens: embeddings are often padded.
    if store.vocabulary <= 2**16 and terms.max(initial=0) < 2**16:
        terms = terms.astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    order = np.argsort(np.concatenate(groups))
    return {name: Ragged(values, offsets).take(order) for name, values in (("terms", terms), ("weights", weights))}


def write_vectors(
    vectors: NDArray[np.float16] | dict[str, Ragged], vocabulary: int, out: Path, trained: bool = True
) -> None:
    """Write one rank's rows.

    Args:
        trained: whether a stage of the recipe trained the model, instead of importing it as it is.

    Raises:
        InputError: a value is not finite, which would spoil every ranking.
    """
    values = vectors["weights"].values if isinstance(vectors, dict) else vectors
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        nans = int(np.count_nonzero(np.isnan(values)))
        fault = f"{bad:,} of the {values.size:,} values that the model gives are not finite in {values.dtype}"
        fault += f" ({nans:,} are no numbers, {bad - nans:,} beyond {np.finfo(values.dtype).max:,.0f})"
        if trained:
            advice = "it has diverged, train it again with a lower learning_rate"
        elif nans:
            advice = "it was imported as it is (train: false), so it is damaged or of another kind; name another model"
        else:
            advice = "it was imported as it is (train: false); say normalize: true, or name another model"
        raise InputError(f"{out}: {fault}; {advice}")
    if isinstance(vectors, dict):
        write_arrow(out, {**vectors}, {"vocabulary": str(vocabulary)})
    else:
        write_matrix(out, vectors)


def join_parts(parts: list[Path], sparse: bool, out: Path) -> None:
    """Join the ranks' rows, in order of the ranks, and remove the parts."""
    if len(parts) == 1:
        parts[0].replace(out)
        return
    if not sparse:
        write_matrix(out, [matrix(part) for part in parts])
    else:
        files = [read_arrow(part) for part in parts]
        joined = {}
        for name in ("terms", "weights"):
            columns = [column for columns, _ in files if isinstance(column := columns[name], Ragged)]
            lengths = np.concatenate([column.lengths for column in columns])
            values = np.concatenate([column.values for column in columns])
            joined[name] = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
        write_arrow(out, {**joined}, files[0][1])
    for part in parts:
        remove(part)


def write_note(out: Path, texts: int, seconds: float, state: PartialState) -> None:
    """Write the size of the vectors beside them, and how long the encoding took without the program's start."""
    note = {"texts": texts, "bytes": out.stat().st_size, "seconds": round(seconds, 3), "processes": state.num_processes}
    if out.suffix == ".npy":
        note["dimensions"] = matrix(out).shape[1]
    threads = {} if state.device.type == "cuda" else {"threads": torch.get_num_threads()}
    write_json(out.with_name(f"speed.{out.stem}.json"), note | {"device": state.device.type} | threads)


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode one shard of texts.")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--tokens", required=True, nargs="+", type=Path)
    parser.add_argument("--side", required=True, choices=["query", "passage"])
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16", "int8"], help=batches.PRECISIONS)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    state = process_state()
    model, settings = load(a.model)
    model = encoder_of(model.to(state.device).eval(), a.side)
    store = with_prefix(TokenStore.for_stage(a.tokens, settings), a.side, a.model, settings)
    start, stop = shard_range(len(store), state.process_index, state.num_processes)
    started = time.perf_counter()
    encode = sparse_rows if isinstance(settings, LexiconRepresentation) else dense_rows
    rows, length = np.arange(start, stop), settings.length(a.side)
    with Progress("encode", len(rows), "texts", state.is_main_process) as progress:
        vectors = encode(model, store, rows, length, state.device, a.precision, progress)
    part = a.out.with_name(f"{a.out.name}.rank{state.process_index}")
    write_vectors(vectors, store.vocabulary, part, (a.model / "train.jsonl").is_file())
    state.wait_for_everyone()
    if state.is_main_process:
        parts = [a.out.with_name(f"{a.out.name}.rank{rank}") for rank in range(state.num_processes)]
        join_parts(parts, isinstance(settings, LexiconRepresentation), a.out)
        seconds = time.perf_counter() - started
        print(f"{len(store):,} texts encoded in {seconds:,.1f} seconds")
        write_note(a.out, len(store), seconds, state)
    state.wait_for_everyone()


if __name__ == "__main__":
    run_main(main)
