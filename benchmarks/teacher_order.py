"""Measure how the precision of a teacher's products changes the order of a pool's passages, which LED's loss learns.

Run on the processor, after `make demo`, as `python benchmarks/teacher_order.py --model results/demo/models/lex_continue
--queries results/demo/tokens/pretrain/train.arrow --passages results/demo/tokens/pretrain/passages.0.arrow
--ranking results/demo/rankings/lex_warmup.train.parquet`.

Every query's passages are scored by the products of their vectors. A pair of passages counts as ordered otherwise if
the sign of the difference of their scores is not that of float32; a tie is one. TF32 is simulated: the inputs of linear
layers are rounded to 10 bits after the binary point. `head` computes a lexicon model's head in float32.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import workload
from torch import Tensor

from led_pipeline.data.tables import read_ranking
from led_pipeline.data.tokens import TokenStore
from led_pipeline.models import lexicon
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load

CPU = torch.device("cpu")
LINEAR, POOLED = torch.nn.functional.linear, lexicon.max_pooled_logits
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
WAYS = ("float32", "bf16", "bf16, head", "fp16", "fp16, head", "TF32")
TEXTS = 64  # encoded at once


def rounded(values: Tensor) -> Tensor:
    """Return float32 values rounded to the nearest ones of TF32."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def wide_head(hidden: Tensor, weight: Tensor, bias: Tensor | None, lengths: list[int]) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return POOLED(hidden.float(), weight.float(), None if bias is None else bias.float(), lengths)


@contextmanager
def way(name: str) -> Iterator[None]:
    """Compute in a precision of WAYS."""
    dtype = DTYPES.get(name.partition(",")[0])
    linear = (lambda x, w, b=None: LINEAR(rounded(x), rounded(w), b)) if name == "TF32" else LINEAR
    pooled = wide_head if name.endswith("head") else POOLED
    with (
        patch("torch.nn.functional.linear", linear),
        patch.object(lexicon, "max_pooled_logits", pooled),
        torch.autocast("cpu", dtype, enabled=dtype is not None),
        torch.inference_mode(),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--passages", type=Path, nargs="+", required=True)
    parser.add_argument("--ranking", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150, help="queries")
    parser.add_argument("--depth", type=int, default=50, help="passages of a query")
    a = parser.parse_args()
    model, settings = load(a.model)
    model.eval()
    stores = {
        "query": TokenStore.for_stage([a.queries], settings),
        "passage": TokenStore.for_stage(a.passages, settings),
    }
    ranking = read_ranking(a.ranking)
    rows = range(0, len(ranking), max(1, len(ranking) // a.count))[: a.count]
    pools = [ranking.passages[i][: a.depth] for i in rows]
    texts = {"query": ranking.queries[list(rows)], "passage": np.unique(np.concatenate(pools))}

    def vectors(side: str) -> np.ndarray:
        encoder, length, store = encoder_of(model, side), settings.length(side), stores[side]
        parts = [texts[side][start : start + TEXTS] for start in range(0, len(texts[side]), TEXTS)]
        return torch.cat([encoder(to_packed_batch(store.texts(p, length), CPU)).float() for p in parts]).numpy()

    print(f"{workload.machine()}\n")
    workload.head(["products", "pairs ordered otherwise", "of them ties", "mean change of a score"])
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for name in WAYS:
        with way(name):
            queries, passages = vectors("query"), vectors("passage")
        places = [np.searchsorted(texts["passage"], pool) for pool in pools]
        scores = [query @ passages[place].T for query, place in zip(queries, places, strict=True)]
        pairs = [(s[:, None] - s[None])[np.triu_indices(len(s), 1)] for s in scores]
        order, flat = np.sign(np.concatenate(pairs)), np.concatenate(scores)
        reference = reference or (order, flat)
        others = order != reference[0]
        change = np.abs(flat - reference[1]).mean() / np.abs(reference[1]).mean()
        workload.row([name, f"{others.mean():.2%} of {len(order):,}", int((order[others] == 0).sum()), f"{change:.1e}"])


if __name__ == "__main__":
    main()
