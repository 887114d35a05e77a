"""Score: a cross-encoder's scores of query-passage pairs, under torchrun; the ranks share the shard between them.

Run as `torchrun -m led_pipeline.inference.score --model DIR --pairs FILE --queries TOKENS --passages TOKENS... --shard
I --shards S --out FILE` for the passages of a trainset: the scores come as one float32 vector in their order. With
`--rerank --depth N` FILE is a ranking, and the output is a ranking of its first N passages per query by the new scores.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import nn

from led_pipeline.data.examples import Trainset
from led_pipeline.data.opened import matrix
from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, read_ranking, shard_range, write_matrix, write_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.atomic import remove
from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.jobs.command import run_main
from led_pipeline.jobs.progress import Progress
from led_pipeline.models.devices import process_state
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.representation import RankerRepresentation


def first(ranking: Ranking, depth: int) -> Ranking:
    """Return a ranking cut to its first `depth` passages per query."""
    cut = [(passages[:depth], scores[:depth]) for _, passages, scores in ranking]
    return Ranking(
        ranking.queries,
        Ragged.from_rows([passages for passages, _ in cut], np.int32),
        Ragged.from_rows([scores for _, scores in cut], np.float32),
    )


def reordered(ranking: Ranking, scores: NDArray[np.float32]) -> Ranking:
    """Return a ranking ordered by new scores of its passages; among equal ones the former order stays."""
    lists = Ragged(scores, ranking.passages.offsets)
    orders = [np.argsort(-lists[i], kind="stable") for i in range(len(ranking))]
    passages = [ranking.passages[i][order] for i, order in enumerate(orders)]
    return Ranking(
        ranking.queries,
        Ragged.from_rows(passages, np.int32),
        Ragged.from_rows([lists[i][order] for i, order in enumerate(orders)], np.float32),
    )


def score_share(
    model: nn.Module,
    stores: tuple[TokenStore, TokenStore],
    queries: NDArray,
    passages: NDArray,
    settings: RankerRepresentation,
    out: Path,
    precision: batches.Precision = None,
) -> NDArray[np.float32]:
    """Score all pairs, each process its share, and return the whole; the parts pass through files beside `out`."""
    state = PartialState()
    start, stop = shard_range(len(queries), state.process_index, state.num_processes)
    pairs = queries[start:stop], passages[start:stop]
    progress = partial(Progress, "score", unit="pairs", active=state.is_main_process)
    scores = batches.score(model, *stores, pairs, settings, state.device, precision, progress)
    if not np.isfinite(scores).all():
        bad = np.count_nonzero(~np.isfinite(scores))
        raise InputError(
            f"{out}: the ranker gives {bad:,} of {len(scores):,} pairs no finite score; train it again, or"
            " name another model"
        )
    parts = [out.with_name(f"{out.name}.rank{rank}") for rank in range(state.num_processes)]
    write_matrix(parts[state.process_index], scores)
    state.wait_for_everyone()
    whole = np.concatenate([matrix(part, mapped=False) for part in parts])
    state.wait_for_everyone()
    remove(parts[state.process_index])
    return whole


def ranker(
    folder: Path, query_tokens: Path, passage_tokens: Sequence[Path], device: torch.device
) -> tuple[nn.Module, RankerRepresentation, tuple[TokenStore, TokenStore]]:
    """Return a ranker that is ready to score on a device, its settings, and its queries and passages.

    Raises:
        InputError: the model is no ranker.
    """
    model, settings = load(folder)
    if not isinstance(settings, RankerRepresentation):
        raise InputError(f"{folder}: a ranker is needed to score pairs, this is a {settings.family} model")
    queries = with_prefix(TokenStore.for_stage([query_tokens], settings), "query", str(folder), settings)
    passages = with_prefix(TokenStore.for_stage(passage_tokens, settings), "passage", str(folder), settings)
    return model.to(device).eval(), settings, (queries, passages)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score query-passage pairs with a cross-encoder.")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--pairs", required=True, type=Path)
    parser.add_argument("--queries", required=True, type=Path)
    parser.add_argument("--passages", required=True, nargs="+", type=Path)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--rerank", action="store_true")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16", "int8"], help=batches.PRECISIONS)
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    state = process_state()
    model, settings, stores = ranker(a.model, a.queries, a.passages, state.device)
    if a.rerank:
        ranking = first(read_ranking(a.pairs), a.depth)
        query_rows, passage_rows = np.repeat(ranking.queries, ranking.passages.lengths), ranking.passages.values
    else:
        query_rows, passage_rows = Trainset.read(a.pairs).pairs(a.shard, a.shards)
    scores = score_share(model, stores, query_rows, passage_rows, settings, a.out, a.precision)
    if state.is_main_process:
        if a.rerank:
            write_ranking(a.out, reordered(ranking, scores))
        else:
            write_matrix(a.out, scores)
        print(f"{len(query_rows):,} pairs scored")


if __name__ == "__main__":
    run_main(main)
