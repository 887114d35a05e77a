"""Time searches of a Lucene index: one query after another, on one thread, within this process.

Run as `python -m led_pipeline.use.query_time bm25 --index DIR --queries Q.parquet --language en --k1 0.9 --b 0.4
--hits K --count N --out JSON`, or as `... impact --index DIR --query-vectors Q.arrow --quantisation 100 ...`.

The time of a query is that from its text (bm25) or from its term weights (impact) to its best passages, as for dense
stages (`search.query_time`): encoding a query is not a part of it. Every query is searched once before the clock
starts.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from led_pipeline.data.tables import read_column
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.atomic import write_json
from led_pipeline.jobs.command import run_main
from led_pipeline.search.impacts import quantise
from led_pipeline.search.query_time import summary, timed
from led_pipeline.use.lucene import LuceneIndex


def bm25_searches(index: LuceneIndex, queries: Path, hits: int, count: int) -> list[Callable[[], object]]:
    """Return the searches of the first queries by their texts."""
    texts: Sequence[str] = read_column(queries, "text")[:count]
    return [lambda text=text: index.search(text, hits) for text in texts]  # type: ignore[misc]


def impact_searches(
    index: LuceneIndex, queries: Path, quantisation: int, hits: int, count: int
) -> list[Callable[[], object]]:
    """Return the searches of the first queries by their impacts."""
    vectors = SparseVectors.read(queries)
    rows = [quantise(vectors, quantisation, row, row + 1, queries) for row in range(min(count, len(vectors)))]
    return [lambda row=row: index.search_terms(row, hits) for row in rows]  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    bm25, impact = (commands.add_parser(name) for name in ("bm25", "impact"))
    for command in (bm25, impact):
        command.add_argument("--index", type=Path, required=True)
        command.add_argument("--hits", type=int, required=True)
        command.add_argument("--count", type=int, required=True, help="number of queries")
        command.add_argument("--out", type=Path, required=True)
    bm25.add_argument("--queries", type=Path, required=True)
    bm25.add_argument("--language", default="en")
    bm25.add_argument("--k1", type=float, required=True)
    bm25.add_argument("--b", type=float, required=True)
    impact.add_argument("--query-vectors", type=Path, required=True)
    impact.add_argument("--quantisation", type=int, required=True)
    a = parser.parse_args()
    if a.command == "bm25":
        searches = bm25_searches(LuceneIndex(a.index, a.language, (a.k1, a.b)), a.queries, a.hits, a.count)
    else:
        searches = impact_searches(LuceneIndex(a.index), a.query_vectors, a.quantisation, a.hits, a.count)
    write_json(a.out, {"hits": a.hits} | summary(timed(searches)))


if __name__ == "__main__":
    run_main(main)
