"""Time a ranker: one query after another, each from its text to its re-ranked passages.

Run as `python -m led_pipeline.use.rerank_time --times OTHER.json --ranking RANKING --model DIR --query-tokens Q.arrow
--passage-tokens P.arrow... --depth D --out JSON`.

The time of a query is that of the system whose passages are re-ranked (`--times`), and that of the model, on a GPU if
there is one. One query is re-ranked before the clock starts.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.tables import read_ranking
from led_pipeline.files.atomic import write_json
from led_pipeline.inference import batches
from led_pipeline.inference.score import ranker
from led_pipeline.jobs.command import run_main
from led_pipeline.search.query_time import added, query_count, summary, timed
from led_pipeline.use.encoders import device


def rerankings(
    model: Path,
    tokens: tuple[Path, Sequence[Path]],
    ranking: Path,
    depth: int,
    count: int,
    precision: batches.Precision = None,
) -> list[Callable[[], object]]:
    """Return the re-rankings of the first queries: each scores the first passages of a ranking and sorts them.

    Args:
        tokens: the token files of the queries and of the passages.
        depth: number of passages of a query that are scored.

    Raises:
        InputError: the model is no ranker.
    """
    ready, settings, stores = ranker(model, *tokens, device())

    def reranked(query: int, rows_P: NDArray[np.int32]) -> NDArray[np.int32]:
        pairs = np.full(len(rows_P), query, dtype=np.int32), rows_P
        scores_P = batches.score(ready, *stores, pairs, settings, device(), precision)
        return rows_P[np.argsort(-scores_P, kind="stable")]

    rows = {query: passages_P for query, passages_P, _ in read_ranking(ranking, 0, count)}
    nothing = np.zeros(0, dtype=np.int32)
    return [partial(reranked, query, rows.get(query, nothing)[:depth]) for query in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path, required=True, help="the measured times of the system that it re-ranks")
    parser.add_argument("--ranking", type=Path, required=True, help="the ranking of that system")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--query-tokens", type=Path, required=True)
    parser.add_argument("--passage-tokens", type=Path, nargs="+", required=True)
    parser.add_argument("--depth", type=int, required=True, help="number of passages that it re-ranks")
    parser.add_argument("--precision", choices=["float32", "bf16", "fp16", "int8"], help=batches.PRECISIONS)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    count = query_count([a.times])
    searches = rerankings(a.model, (a.query_tokens, a.passage_tokens), a.ranking, a.depth, count, a.precision)
    write_json(a.out, {"depth": a.depth, "device": device().type} | summary(added([a.times], timed(searches, warm=1))))


if __name__ == "__main__":
    run_main(main)
