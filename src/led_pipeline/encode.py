"""Encode: one shard of texts to vectors, under torchrun; the ranks share the shard between them.

Run as `torchrun -m led_pipeline.encode --model DIR --tokens SHARD --side passage --out FILE`. A dense model writes a
float16 matrix (.npy), a lexicon model its unquantised weights as sparse rows (.arrow).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor

from led_pipeline.data.tables import Ragged, read_arrow, shard_range, write_arrow
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files import InputError, atomic, remove, run_main
from led_pipeline.models import inference
from led_pipeline.models.checkpoint import load


def encode_rows(
    model: torch.nn.Module, settings: dict, store: TokenStore, rows: NDArray, side: str, device: torch.device
) -> list:
    """Return the vectors of some rows in order: dense ones as float16 arrays, sparse ones as (terms, weights)."""
    vectors: list = [None] * len(rows)
    convert = _sparse_rows if settings["family"] == "lexicon" else _dense_rows

    def keep(group: NDArray[np.int64], output: Tensor) -> None:
        for index, vector in zip(group, convert(output), strict=True):
            vectors[index] = vector

    inference.encode(model, store, rows, settings[f"{side}_length"], device, keep)
    return vectors


def _dense_rows(vectors: Tensor) -> NDArray[np.float16]:
    return vectors.half().cpu().numpy()


def _sparse_rows(weights_BV: Tensor) -> list[tuple[NDArray, NDArray]]:
    """Return the positive entries of each row: vocabulary ids ascending, and weights."""
    row, term = weights_BV.nonzero(as_tuple=True)
    weights = weights_BV[row, term].cpu().numpy()
    ends = torch.bincount(row, minlength=len(weights_BV)).cumsum(0).cpu().numpy()[:-1]
    return list(zip(np.split(term.cpu().numpy(), ends), np.split(weights, ends), strict=True))


def write_vectors(rows: list, family: str, vocabulary: int, out: Path) -> None:
    """Write one rank's rows; a vector that is not finite is an error, since it would spoil every ranking in silence."""
    if family == "dense":
        matrix = np.stack(rows) if rows else np.empty((0, 0), dtype=np.float16)
        if not np.isfinite(matrix).all():
            raise InputError(
                f"{out}: the model gives vectors that are not finite in float16; it has diverged, train it anew"
            )
        with atomic(out) as temporary, temporary.open("wb") as file:
            np.save(file, matrix)
        return
    dtype = np.uint16 if vocabulary <= 2**16 else np.uint32
    terms = Ragged.from_rows([terms for terms, _ in rows], dtype)
    weights = Ragged.from_rows([weights for _, weights in rows], np.float32)
    if not np.isfinite(weights.values).all():
        raise InputError(f"{out}: the model gives weights that are not finite; it has diverged, train it anew")
    write_arrow(out, {"terms": terms, "weights": weights}, {"vocabulary": str(vocabulary)})


def join_parts(parts: list[Path], family: str, out: Path) -> None:
    """Join the ranks' rows, in order of the ranks, and remove the parts."""
    if len(parts) == 1:
        parts[0].replace(out)
        return
    if family == "dense":
        matrices = [np.load(part) for part in parts]
        filled = [matrix for matrix in matrices if len(matrix)]  # a rank without texts knows no width
        with atomic(out) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(filled or matrices))
    else:
        read = [read_arrow(part) for part in parts]
        joined = {}
        for name in ("terms", "weights"):
            columns = [columns[name] for columns, _ in read]
            lengths = np.concatenate([column.lengths for column in columns])
            values = np.concatenate([column.values for column in columns])
            joined[name] = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
        write_arrow(out, joined, read[0][1])
    for part in parts:
        remove(part)


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode one shard of texts.")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--tokens", required=True, nargs="+", type=Path)
    parser.add_argument("--side", required=True, choices=["query", "passage"])
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    state = PartialState()
    model, settings = load(a.model)
    model.to(state.device).eval()
    store = TokenStore(a.tokens)
    start, stop = shard_range(len(store), state.process_index, state.num_processes)
    rows = encode_rows(model, settings, store, np.arange(start, stop), a.side, state.device)
    part = a.out.with_name(f"{a.out.name}.rank{state.process_index}")
    write_vectors(rows, settings["family"], store.vocabulary, part)
    state.wait_for_everyone()
    if state.is_main_process:
        join_parts(
            [a.out.with_name(f"{a.out.name}.rank{r}") for r in range(state.num_processes)], settings["family"], a.out
        )
        print(f"{len(store):,} texts encoded")
    state.wait_for_everyone()


if __name__ == "__main__":
    run_main(main)
